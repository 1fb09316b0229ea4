//! The look that every operation begins with: the tree and the tenant's head, at the same time.

use crate::Error;
use crate::decide::{Point, Standing, standing};
use crate::error::BranchGoneSnafu;
use crate::session::{Local, Session, point};
use crate::tree_map::empty_root;

/// What workspace and tenant hold.
#[derive(Debug)]
pub(crate) struct Look {
    /// What both last agreed on.
    pub(crate) base: Option<Point>,
    /// What the workspace had written down of that.
    pub(crate) seen: Option<Point>,
    /// Where the tenant's branch is.
    pub(crate) head: Option<Point>,
    /// Whether the tenant holds no object at all.
    pub(crate) vacant: bool,
    /// What the tree holds.
    pub(crate) local: Local,
}

impl Session {
    /// Captures the tree while the head is asked for, with a conditional request.
    pub(crate) async fn look(&self) -> Result<Look, Error> {
        let remembered = self.remembered()?;
        let known = remembered.base.map(|base| base.id);
        let (answer, local) = tokio::join!(self.remote.head(known), self.capture());
        let (answer, local) = (answer?, local?);
        let vacant = answer.as_ref().is_some_and(|head| head.vacant);
        let head = match answer {
            None => remembered.base,
            Some(head) => {
                let named = head.head.zip(head.snapshot);
                named.map(|(id, snapshot)| point(id, &snapshot))
            }
        };
        // A push that ended before it could say so has moved the base, too.
        let arrived = remembered.pushing.is_some() && remembered.pushing == head;
        let base = if arrived { head } else { remembered.base };
        Ok(Look {
            base,
            seen: remembered.base,
            head,
            vacant,
            local,
        })
    }
}

impl Look {
    /// Where the workspace stands to its tenant.
    pub(crate) fn standing(&self) -> Standing {
        standing(self.base, self.local.root, self.head, empty_root())
    }

    /// Refuses to go on where the tenant has lost the branch: what to do then is for a person to say.
    pub(crate) fn ensure_branch(&self) -> Result<(), Error> {
        match (self.base, self.head) {
            (Some(base), None) => BranchGoneSnafu { base: base.id }.fail(),
            _ => Ok(()),
        }
    }
}
