//! A branch that a workspace works with for the first time, and the one that it follows.
//!
//! Without a base of its own every file would be new to it. Its base is where it and the followed branch meet; a branch that
//! is yet to be begins where the workspace and the followed one last agreed (ADR 0016).

use snafu::ensure;

use crate::Error;
use crate::ancestry::Ancestry;
use crate::decide::Point;
use crate::error::{NoBranchSnafu, StaleSnafu, UnobtainableSnafu};
use crate::remote::Pushed;
use crate::session::{Session, point};
use crate::state::{Agreed, Remembered, State};

impl Session {
    /// What the files of a branch that nothing was ever agreed on with come from: its base. `head` is where it is.
    pub(crate) async fn files_kin(
        &self,
        remembered: &Remembered,
        head: Option<Point>,
    ) -> Result<Option<Agreed>, Error> {
        let is_new = remembered.agreed == Agreed::default() && remembered.pushing.is_none();
        let home = self.workspace.home_key()?;
        if !is_new || home == self.key {
            return Ok(None);
        }
        let home = State::load(&self.workspace.private())?
            .remembered(&home)
            .agreed;
        let Some(base) = home.base else {
            return Ok(None);
        };
        let found = self.kin(base, head).await?;
        Ok(found.map(|found| {
            if found.id == base.id {
                home
            } else {
                Agreed::on(found)
            }
        }))
    }

    /// Where a branch at `head` and what was agreed on with the followed branch, `home`, meet. A branch that does not exist
    /// begins at `home`, once something is applied.
    pub(crate) async fn kin(
        &self,
        home: Point,
        head: Option<Point>,
    ) -> Result<Option<Point>, Error> {
        let Some(head) = head else {
            // A look that comes second says the same.
            let _ = self.fork.set(home);
            return Ok(Some(home));
        };
        if head.id == home.id {
            return Ok(Some(home));
        }
        let mut theirs = Ancestry::new(&self.remote, head.id);
        let mut ours = Ancestry::new(&self.remote, home.id);
        let found = ours.meet(&mut theirs).await?;
        Ok(found.and_then(|id| {
            let snapshot = ours.get(id).or_else(|| theirs.get(id))?;
            Some(point(id, snapshot))
        }))
    }

    /// Refuses to go on where the branch is yet to be: there is nothing to bring from it.
    pub(crate) fn ensure_begun(&self) -> Result<(), Error> {
        ensure!(
            self.fork.get().is_none(),
            NoBranchSnafu {
                branch: self.remote.branch().as_str()
            }
        );
        Ok(())
    }

    /// Begins the branch where it is yet to be. A run that ends right after leaves a branch that the next one knows the base of.
    pub(crate) async fn begin_branch(&self) -> Result<(), Error> {
        let Some(point) = self.fork.get() else {
            return Ok(());
        };
        let begin = || async {
            match self.remote.begin(point.id).await? {
                Pushed::Done { .. } => Ok(()),
                Pushed::Stale { head } => StaleSnafu { head }.fail(),
                Pushed::Incomplete { missing } => UnobtainableSnafu {
                    digest: missing.first().copied().unwrap_or_default(),
                }
                .fail(),
            }
        };
        self.begun.get_or_try_init(begin).await.copied()
    }
}
