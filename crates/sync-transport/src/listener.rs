//! Where connections come from.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use snafu::ResultExt as _;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::connect::Io;
use crate::error::{Error, ListenSnafu};
use crate::handler::Peer;
use crate::memory::MemoryConnector;
use crate::request_id::random;
use crate::tls::ServerTls;

/// A place where connections arrive; dropped, it takes no more.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    tls: Option<ServerTls>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(PrivateSocket),
    Memory(mpsc::Receiver<DuplexStream>),
}

impl Listener {
    /// Listens on a TCP address, for TLS where a certificate is given; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`].
    pub async fn bind_tcp(address: SocketAddr, tls: Option<ServerTls>) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).await.context(ListenSnafu {
            address: address.to_string(),
        })?;
        Ok(Self {
            kind: Kind::Tcp(listener),
            tls,
        })
    }

    /// Listens on a Unix socket that only this user may open.
    ///
    /// A socket that nobody listens on any more is replaced. The file is removed when the listener is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`], of kind `AddrInUse` where somebody listens there,
    /// and of kind `AlreadyExists` where something else than a socket is there; it is left alone.
    pub async fn bind_unix(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let socket = PrivateSocket::bind(path).await?;
        Ok(Self {
            kind: Kind::Unix(socket),
            tls: None,
        })
    }

    /// A listener inside this process, and the way to it.
    pub fn memory() -> (MemoryConnector, Self) {
        let (connector, receiver) = MemoryConnector::pair();
        let listener = Self {
            kind: Kind::Memory(receiver),
            tls: None,
        };
        (connector, listener)
    }

    /// The address of a TCP listener, with the port that was taken.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix(_) | Kind::Memory(_) => None,
        }
    }

    pub(crate) fn tls(&self) -> Option<ServerTls> {
        self.tls.clone()
    }

    /// The next connection; never, where none can come any more.
    pub(crate) async fn accept(&mut self) -> io::Result<(Box<dyn Io>, Peer)> {
        match &mut self.kind {
            Kind::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Ok((Box::new(socket), Peer::Tcp(address)))
            }
            Kind::Unix(socket) => Ok((Box::new(socket.accept().await?), Peer::Unix)),
            Kind::Memory(receiver) => match receiver.recv().await {
                Some(socket) => Ok((Box::new(socket), Peer::Memory)),
                None => std::future::pending().await,
            },
        }
    }
}

/// A Unix socket that only this user may open, for whoever speaks something else than HTTP.
#[derive(Debug)]
pub struct PrivateSocket {
    listener: UnixListener,
    _file: SocketFile,
}

impl PrivateSocket {
    /// Listens; a socket that nobody listens on any more is replaced. The file is removed on drop.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`], also where somebody listens there.
    pub async fn bind(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let address = path.display().to_string();
        let (listener, file) = bind_private(path).await.context(ListenSnafu { address })?;
        Ok(Self {
            listener,
            _file: file,
        })
    }

    /// The next connection.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        Ok(stream)
    }
}

/// The file of a Unix socket, removed on drop if it still is ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a socket file is left behind");
        }
    }
}

/// Binds inside a directory that only this user may enter and moves the socket out once its mode is set,
/// so that there is no moment in which others could connect.
async fn bind_private(path: PathBuf) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(_) => match UnixStream::connect(&path).await {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        },
    }
    let nursery = Nursery::create(path.parent().unwrap_or(Path::new("")))?;
    let cradle = nursery.0.join("s");
    let listener = UnixListener::bind(&cradle)?;
    fs::set_permissions(&cradle, Permissions::from_mode(0o600))?;
    let inode = fs::symlink_metadata(&cradle)?.ino();
    fs::rename(&cradle, &path)?;
    Ok((listener, SocketFile { path, inode }))
}

/// A directory of ours alone, gone on drop with what is left in it.
struct Nursery(PathBuf);

impl Nursery {
    fn create(parent: &Path) -> io::Result<Self> {
        // Short: the path of a socket has about a hundred bytes.
        let path = parent.join(format!(".{:06x}", random() & 0xff_ffff));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a temporary directory is left behind");
        }
    }
}
