//! Files for chosen readers, in the format `age-encryption.org/v1` with X25519 recipients: what `age` and `rage` read and write.
//!
//! The specification is <https://c2sp.org/age>. The primitives are those of `ring` and `x25519-dalek`; what is here is the
//! header, and the stream of chunks. Blocking.

mod bech32;
mod stream;

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use data_encoding::BASE64_NOPAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use snafu::{OptionExt, Snafu};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

pub use stream::{Decrypting, Encrypting};

/// What every file begins with.
pub const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// The most bytes of a header that is read.
const MAX_HEADER: usize = 64 << 10;
const STANZA: &str = "-> X25519 ";
const END: &str = "---";
const INFO: &[u8] = b"age-encryption.org/v1/X25519";

type Key = [u8; 32];
type FileKey = [u8; 16];

/// Who may read a file: `age1` and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient(Key);

/// What a recipient reads with: `AGE-SECRET-KEY-1` and what follows.
#[derive(Clone)]
pub struct Secret(Key);

/// A text is neither a recipient nor a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
pub enum ParseAgeError {
    /// No recipient.
    #[snafu(display("a recipient is `age1` and 58 letters and digits"))]
    Recipient,
    /// No secret.
    #[snafu(display("a secret key is `AGE-SECRET-KEY-1` and 58 letters and digits"))]
    Secret,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl FromStr for Recipient {
    type Err = ParseAgeError;

    fn from_str(text: &str) -> Result<Self, ParseAgeError> {
        let key = bech32::decode("age", text);
        key.map(Self).context(RecipientSnafu)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode("age", &self.0))
    }
}

impl FromStr for Secret {
    type Err = ParseAgeError;

    fn from_str(text: &str) -> Result<Self, ParseAgeError> {
        let is_upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
        let key = bech32::decode("age-secret-key-", &text.to_ascii_lowercase());
        key.filter(|_| is_upper).map(Self).context(SecretSnafu)
    }
}

impl Secret {
    /// Who reads with it.
    pub fn recipient(&self) -> Recipient {
        Recipient(x25519(self.0, X25519_BASEPOINT_BYTES))
    }

    /// The secrets of a file as `age-keygen` writes it: one a line, beside comments and empty lines.
    ///
    /// # Errors
    ///
    /// [`ParseAgeError::Secret`] where a line is something else, or there is none.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, ParseAgeError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let secrets: Vec<Self> = lines.map(str::parse).collect::<Result<_, _>>()?;
        if secrets.is_empty() {
            return SecretSnafu.fail();
        }
        Ok(secrets)
    }
}

/// Writes the header for these recipients; what is written then is encrypted to each of them.
///
/// # Errors
///
/// Of `file`, and where the operating system gives no randomness.
pub fn encrypt<W: Write>(mut file: W, recipients: &[Recipient]) -> io::Result<Encrypting<W>> {
    let file_key: FileKey = random()?;
    let mut header = MAGIC.to_vec();
    for recipient in recipients {
        let ephemeral: Key = random()?;
        let share = x25519(ephemeral, X25519_BASEPOINT_BYTES);
        let shared = x25519(ephemeral, recipient.0);
        let mut body = file_key.to_vec();
        let key = wrapping_key(&shared, &share, recipient).ok_or_else(broken)?;
        let sealed = key.seal_in_place_append_tag(zero_nonce(), Aad::empty(), &mut body);
        sealed.map_err(|_| broken())?;
        let (share, body) = (BASE64_NOPAD.encode(&share), BASE64_NOPAD.encode(&body));
        header.extend_from_slice(format!("{STANZA}{share}\n{body}\n").as_bytes());
    }
    header.extend_from_slice(END.as_bytes());
    let mac = hmac::sign(&mac_key(&file_key), &header);
    header.extend_from_slice(format!(" {}\n", BASE64_NOPAD.encode(mac.as_ref())).as_bytes());
    file.write_all(&header)?;
    let nonce: FileKey = random()?;
    file.write_all(&nonce)?;
    Ok(Encrypting::new(file, payload_key(&file_key, &nonce)?))
}

/// Reads the header of a file; `None` where none of `secrets` opens it.
///
/// # Errors
///
/// Of `file`, and [`io::ErrorKind::InvalidData`] where the header is none.
pub fn decrypt<R: Read>(mut file: R, secrets: &[Secret]) -> io::Result<Option<Decrypting<R>>> {
    let mut header = Vec::new();
    let mut found = None;
    let magic = line(&mut file, &mut header)?;
    if magic.as_bytes() != &MAGIC[..MAGIC.len() - 1] {
        return Err(malformed());
    }
    let mut text = line(&mut file, &mut header)?;
    while let Some(arguments) = text.strip_prefix("-> ") {
        let share = arguments.strip_prefix("X25519 ").map(decode_key);
        // The body: whole lines of 64, and one that is shorter.
        let mut body = String::new();
        loop {
            let part = line(&mut file, &mut header)?;
            body.push_str(&part);
            if part.len() < 64 {
                break;
            }
        }
        if let Some(share) = share {
            let share = share.ok_or_else(malformed)?;
            let body = BASE64_NOPAD.decode(body.as_bytes());
            let body = body.ok().filter(|body| body.len() == 32);
            let body = body.ok_or_else(malformed)?;
            let mut opened = secrets
                .iter()
                .filter_map(|secret| open(secret, &share, &body));
            found = found.or_else(|| opened.next());
        }
        text = line(&mut file, &mut header)?;
    }
    let mac = text
        .strip_prefix(END)
        .and_then(|rest| rest.strip_prefix(' '));
    let mac = mac.and_then(decode_key).ok_or_else(malformed)?;
    let Some(file_key) = found else {
        return Ok(None);
    };
    // The header up to the mark, without what vouches for it.
    let signed = header.len() - text.len() - 1 + END.len();
    let verified = hmac::verify(&mac_key(&file_key), &header[..signed], &mac);
    verified.map_err(|_| malformed())?;
    let mut nonce: FileKey = [0; 16];
    file.read_exact(&mut nonce)?;
    Ok(Some(Decrypting::new(file, payload_key(&file_key, &nonce)?)))
}

fn open(secret: &Secret, share: &Key, body: &[u8]) -> Option<FileKey> {
    let shared = x25519(secret.0, *share);
    let key = wrapping_key(&shared, share, &secret.recipient())?;
    let mut body = body.to_vec();
    let opened = key.open_in_place(zero_nonce(), Aad::empty(), &mut body);
    (*opened.ok()?).try_into().ok()
}

/// The next line of a header, which is at most [`MAX_HEADER`] long. Nothing behind it is read.
fn line(file: &mut impl Read, header: &mut Vec<u8>) -> io::Result<String> {
    let start = header.len();
    loop {
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        header.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
        if header.len() > MAX_HEADER {
            return Err(malformed());
        }
    }
    let text = header[start..header.len() - 1].to_vec();
    String::from_utf8(text).map_err(|_| malformed())
}

fn decode_key(text: &str) -> Option<Key> {
    let bytes = BASE64_NOPAD.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// The key that wraps a file's key for a recipient; `None` where a point of small order was given.
fn wrapping_key(shared: &Key, share: &Key, recipient: &Recipient) -> Option<LessSafeKey> {
    if *shared == [0; 32] {
        return None;
    }
    let salt = [&share[..], &recipient.0].concat();
    chacha(&derive(&salt, shared, INFO)?)
}

fn mac_key(file_key: &FileKey) -> hmac::Key {
    let key = derive(&[], file_key, b"header").unwrap_or_default();
    hmac::Key::new(hmac::HMAC_SHA256, &key)
}

fn payload_key(file_key: &FileKey, nonce: &FileKey) -> io::Result<LessSafeKey> {
    let key = derive(nonce, file_key, b"payload");
    key.and_then(|key| chacha(&key)).ok_or_else(broken)
}

fn chacha(key: &Key) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok()?;
    Some(LessSafeKey::new(key))
}

/// HKDF-SHA256.
fn derive(salt: &[u8], secret: &[u8], info: &[u8]) -> Option<Key> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let infos = [info];
    let expanded = extracted.expand(&infos, hkdf::HKDF_SHA256).ok()?;
    let mut key = [0; 32];
    expanded.fill(&mut key).ok()?;
    Some(key)
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    filled.map_err(|_| io::Error::other("the operating system gave no randomness"))?;
    Ok(bytes)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the file is not one of age, or was changed",
    )
}

/// Nothing that a file says leads here.
fn broken() -> io::Error {
    io::Error::other("the file could not be encrypted")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A secret that another writer made, and its recipient.
    const SECRET: &str =
        "AGE-SECRET-KEY-1EYJ93HCFEGZYPNLSRW6WV3JVLZ7EFCU3UF2D8NV5XZCAP89VRF6S3FQQ3N";
    const RECIPIENT: &str = "age1828w320z8hqyelpyap2sy6ka9ehfg49p6w3sxcrgd93ygz3g2g7qx308ur";

    fn secret() -> Secret {
        SECRET.parse().unwrap()
    }

    fn encrypted(bytes: &[u8], recipients: &[Recipient]) -> Vec<u8> {
        let mut writer = encrypt(Vec::new(), recipients).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn decrypted(file: &[u8], secrets: &[Secret]) -> io::Result<Option<Vec<u8>>> {
        let Some(mut reader) = decrypt(file, secrets)? else {
            return Ok(None);
        };
        let mut all = Vec::new();
        reader.read_to_end(&mut all)?;
        Ok(Some(all))
    }

    #[test]
    fn texts_are_strict() {
        assert_eq!(secret().recipient().to_string(), RECIPIENT);
        assert_eq!(RECIPIENT.parse(), Ok(secret().recipient()));
        for bad in [
            "age1",
            &RECIPIENT[1..],
            &RECIPIENT.to_uppercase(),
            &RECIPIENT.replace("age18", "age19"),
        ] {
            assert_eq!(
                bad.parse::<Recipient>(),
                Err(ParseAgeError::Recipient),
                "{bad}"
            );
        }
        assert!(SECRET.to_lowercase().parse::<Secret>().is_err());
        let file = format!("# created: 2026\n# public key: {RECIPIENT}\n{SECRET}\n");
        assert_eq!(Secret::parse_file(&file).unwrap().len(), 1);
        assert!(Secret::parse_file("# nothing\n").is_err());
        assert!(!format!("{:?}", secret()).contains("EYJ93"));
    }

    /// Made by the crate `age` 0.12.1.
    #[test]
    fn a_file_of_another_writer_is_read() {
        let file = include_bytes!("age/x25519.age");
        let read = decrypted(file, &[secret()]).unwrap().unwrap();
        assert_eq!(read, b"age");
    }

    #[test]
    fn each_recipient_reads_and_nobody_else() {
        let other = Secret([7; 32]);
        let sizes: [usize; 7] = [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000];
        for size in sizes {
            let bytes = vec![size.to_le_bytes()[0]; size];
            let file = encrypted(&bytes, &[other.recipient(), secret().recipient()]);
            for by in [secret(), other.clone()] {
                assert_eq!(
                    decrypted(&file, &[by]).unwrap().as_ref(),
                    Some(&bytes),
                    "{size}"
                );
            }
            assert_eq!(decrypted(&file, &[Secret([8; 32])]).unwrap(), None);
        }
    }

    #[test]
    fn what_was_changed_is_refused() {
        let file = encrypted(&vec![1; 70_000], &[secret().recipient()]);
        let secrets = [secret()];
        for at in (0..file.len()).step_by(997).chain([file.len() - 1]) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            // Who cannot open a header does not know whether it was changed.
            assert!(
                !matches!(decrypted(&changed, &secrets), Ok(Some(_))),
                "byte {at}"
            );
        }
        let chunk = 65_536 + 16;
        for len in [
            0,
            10,
            100,
            200,
            300,
            file.len() - 1,
            file.len() - (70_000 - 65_536) - 16,
            chunk,
        ] {
            assert!(decrypted(&file[..len], &secrets).is_err(), "{len} bytes");
        }
        assert!(decrypted(&[&file[..], b"x"].concat(), &secrets).is_err());
    }
}
