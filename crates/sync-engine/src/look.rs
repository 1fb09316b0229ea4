//! The look that every operation begins with: the tree and the tenant's head, at the same time.

use crate::Error;
use crate::decide::{Point, Standing, standing};
use crate::error::BranchGoneSnafu;
use crate::session::{Local, Session, point};
use crate::state::{Agreed, Remembered};
use crate::tree_map::empty_root;
use sync_core::Digest;
use sync_store::protocol::{BranchRoots, Head, Part};

/// What workspace and tenant hold.
#[derive(Debug)]
pub(crate) struct Look {
    /// What both last agreed on.
    pub(crate) agreed: Agreed,
    /// What the workspace had written down of that.
    pub(crate) seen: Agreed,
    /// Where the tenant's branch is.
    pub(crate) head: Option<Point>,
    /// Whether the tenant holds no object at all.
    pub(crate) vacant: bool,
    /// What the tree holds.
    pub(crate) local: Local,
    /// The other branches of the tenant, where they were asked for.
    pub(crate) others: Vec<BranchRoots>,
}

impl Session {
    /// Captures the tree while the head is asked for, with a conditional request.
    pub(crate) async fn look(&self) -> Result<Look, Error> {
        self.look_with(false).await
    }

    /// Likewise; with `others` the other branches of the tenant are asked for in the same request.
    pub(crate) async fn look_with(&self, others: bool) -> Result<Look, Error> {
        let remembered = self.remembered()?;
        let known = remembered.agreed.base.map(|base| base.id);
        let head = self.remote.head_of(known, Part::Files, others);
        let (answer, local) = tokio::join!(head, self.capture());
        let answer = answer?;
        let head = head_of(&remembered, answer.as_ref());
        let kin = self.files_kin(&remembered, head).await?;
        Ok(Look::of(&remembered, kin, answer, local?))
    }
}

/// Where the branch is, by what the tenant answered to who knew the base.
pub(crate) fn head_of(remembered: &Remembered, answer: Option<&Head>) -> Option<Point> {
    match answer {
        None => remembered.agreed.base,
        Some(head) => {
            let named = head.head.zip(head.snapshot.as_ref());
            named.map(|(id, snapshot)| point(id, snapshot))
        }
    }
}

impl Look {
    /// What is captured, beside what the tenant answered to who knew the base. `kin` is the base of a branch that nothing was
    /// ever agreed on with; a branch that is yet to be begins there.
    pub(crate) fn of(
        remembered: &Remembered,
        kin: Option<Agreed>,
        answer: Option<Head>,
        local: Local,
    ) -> Self {
        let seen = remembered.agreed;
        let vacant = answer.as_ref().is_some_and(|head| head.vacant);
        let head = head_of(remembered, answer.as_ref());
        let head = head.or_else(|| kin.and_then(|kin| kin.base));
        // A push that ended before it could say so has moved the base, too.
        let arrived = head.filter(|_| remembered.pushing.is_some() && remembered.pushing == head);
        Self {
            agreed: arrived.map_or(kin.unwrap_or(seen), Agreed::on),
            seen,
            head,
            vacant,
            local,
            others: answer.map(|head| head.branches).unwrap_or_default(),
        }
    }

    /// Where the workspace stands to its tenant.
    pub(crate) fn standing(&self) -> Standing {
        standing(self.agreed.files(), self.local.root, self.head_files())
    }

    /// The files that the tenant's branch has.
    pub(crate) fn head_files(&self) -> Digest {
        self.head.map_or_else(empty_root, |head| head.files)
    }

    /// Refuses to go on where the tenant has lost the branch: what to do then is for a person to say.
    pub(crate) fn ensure_branch(&self) -> Result<(), Error> {
        match (self.agreed.base, self.head) {
            (Some(base), None) => BranchGoneSnafu { base: base.id }.fail(),
            _ => Ok(()),
        }
    }
}
