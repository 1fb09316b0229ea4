//! Which state a database says that it is in.

use sync_core::Digest;

use crate::working_copy::{Capture, Epoch};
use crate::{Database, Error};

impl Database {
    /// The name of the state that was written down last; `None` where none was.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn epoch(&self) -> Result<Option<Epoch>, Error> {
        let doing = "reading the state of the last capture";
        let said = self.while_(doing);
        let client = self.connection(doing).await?;
        if self.version(&**client).await? == 0 {
            return Ok(None);
        }
        let row = client
            .query_opt("SELECT epoch FROM sync.state", &[])
            .await
            .map_err(said)?;
        Ok(row.and_then(|row| row.get::<_, String>(0).parse().ok()))
    }
}

impl Capture {
    /// What a capture would find that was made right after this one was applied or written down: the database holds `root`,
    /// in the state `epoch`. What others changed in between is found by the next one, as the cursor stays.
    #[must_use]
    pub fn applied(&self, root: Digest, epoch: Epoch) -> Self {
        Self {
            root,
            seen: Some(epoch),
            is_news: false,
            doubt: None,
            ..self.clone()
        }
    }
}
