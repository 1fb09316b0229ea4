//! Each job when it is due, until somebody says stop.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use sync_core::retry::Backoff;

use super::{Job, JobRun, JobState, Jobs, is_away};
use crate::{Error, Problem};

/// How long at most before the clock is looked at again: it may be set while we sleep.
const NAP: Duration = Duration::from_secs(20);
/// How long a run may go on after somebody said stop.
const GRACE: Duration = Duration::from_secs(10);
/// How long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What happens in a daemon.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event")]
pub enum JobEvent {
    /// Jobs are waited for.
    #[serde(rename = "job:ready")]
    Ready {
        /// How many have a schedule.
        jobs: usize,
    },
    /// A run begins.
    #[serde(rename = "job:start")]
    Started {
        /// Which job.
        job: String,
        /// For when, in milliseconds since 1970-01-01T00:00:00Z.
        scheduled_for: u64,
    },
    /// A run has ended.
    #[serde(rename = "job:complete")]
    Ended {
        /// What came of it.
        run: Box<JobRun>,
    },
    /// Somebody else has the run, or has had it.
    #[serde(rename = "job:elsewhere")]
    Elsewhere {
        /// Which job.
        job: String,
        /// For when.
        scheduled_for: u64,
    },
    /// Runs have not taken place.
    #[serde(rename = "job:missed")]
    Missed {
        /// What is recorded of them.
        run: Box<JobRun>,
    },
    /// Something is away; it is tried again.
    #[serde(rename = "job:waiting")]
    Waiting {
        /// What.
        problem: Problem,
    },
    /// A run was given up, because it went on for too long after somebody said stop.
    #[serde(rename = "job:given-up")]
    GivenUp {
        /// Which job.
        job: String,
    },
}

/// A job and the last time for which it was looked after; `None` before the database was asked.
struct Watched<'j> {
    job: &'j Job,
    handled: Option<u64>,
}

/// Who says stop.
type Stop<'s> = Pin<&'s mut (dyn Future<Output = ()> + Send)>;

/// Somebody has said stop.
struct Stopped;

impl Jobs {
    /// Runs each job when it is due, one after the other, until `stop` is there; a run that is under way then may go on for
    /// ten seconds. What was due while nobody was there is recorded as missed, and told; it is not made up for, but what is
    /// due while another job runs is done after that.
    ///
    /// # Errors
    ///
    /// What the database says, where waiting will not mend it.
    pub async fn serve(
        &self,
        tell: &(dyn Fn(JobEvent) + Send + Sync),
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let mut stop = Box::pin(stop);
        let watched = self.all().iter().filter(|job| job.schedule.is_some());
        let mut watched: Vec<Watched<'_>> =
            watched.map(|job| Watched { job, handled: None }).collect();
        tell(JobEvent::Ready {
            jobs: watched.len(),
        });
        let mut failures = 0;
        loop {
            let wait = match self.round(&mut watched, tell, stop.as_mut()).await {
                Ok(Err(Stopped)) => return Ok(()),
                Ok(Ok(())) => {
                    failures = 0;
                    self.until_next(&watched)
                }
                Err(error) if is_away(&error) => {
                    failures += 1;
                    tell(JobEvent::Waiting {
                        problem: Problem::from_fault(&error),
                    });
                    let delay = Backoff::ENDLESS.delay(failures, (self.random)(), None);
                    delay.unwrap_or(Backoff::ENDLESS.cap)
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = stop.as_mut() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is due by now.
    async fn round(
        &self,
        watched: &mut [Watched<'_>],
        tell: &(dyn Fn(JobEvent) + Send + Sync),
        mut stop: Stop<'_>,
    ) -> Result<Result<(), Stopped>, Error> {
        for one in watched {
            let Some(schedule) = &one.job.schedule else {
                continue;
            };
            let now = (self.clock)();
            // A clock that was set back must not keep jobs waiting until it has caught up. What was done is recorded.
            one.handled = one.handled.map(|handled| handled.min(now));
            let Some(handled) = one.handled else {
                // What was due since the last run, while nobody was there.
                let last = self.last_due(one.job).await?;
                let due = last.and_then(|last| schedule.due(last, now));
                if let Some((count, last)) = due {
                    self.tell_missed(one.job, count, last, tell).await?;
                }
                one.handled = Some(now);
                continue;
            };
            let Some((count, last)) = schedule.due(handled, now) else {
                continue;
            };
            let job = one.job;
            tell(JobEvent::Started {
                job: job.name.clone(),
                scheduled_for: last,
            });
            let mut run = Box::pin(self.run_for(job, Some(last)));
            let (ran, stopped) = tokio::select! {
                ran = &mut run => (Some(ran), Ok(())),
                () = stop.as_mut() => {
                    let ran = tokio::time::timeout(GRACE, &mut run).await;
                    (ran.ok(), Err(Stopped))
                }
            };
            drop(run);
            match ran {
                Some(Ok(Some(run))) if run.state == JobState::Missed => {
                    tell(JobEvent::Missed { run: Box::new(run) });
                }
                Some(Ok(Some(run))) => tell(JobEvent::Ended { run: Box::new(run) }),
                Some(Ok(None)) => tell(JobEvent::Elsewhere {
                    job: job.name.clone(),
                    scheduled_for: last,
                }),
                Some(Err(error)) if stopped.is_ok() => return Err(error),
                Some(Err(_)) | None => {
                    // Its transactions are rolled back, and what it left in the tree the next run takes back.
                    let _ = tokio::time::timeout(LAST_WORD, self.interrupt(job)).await;
                    tell(JobEvent::GivenUp {
                        job: job.name.clone(),
                    });
                }
            }
            one.handled = Some(last);
            if stopped.is_err() {
                return Ok(stopped);
            }
            // Those before it were due while something else went on.
            if let Some((count, last)) = schedule.due(handled, last - 1).filter(|_| count > 1) {
                self.tell_missed(job, count, last, tell).await?;
            }
        }
        Ok(Ok(()))
    }

    async fn tell_missed(
        &self,
        job: &Job,
        count: u32,
        last: u64,
        tell: &(dyn Fn(JobEvent) + Send + Sync),
    ) -> Result<(), Error> {
        if let Some(run) = self.record_missed(job, count, last).await? {
            tell(JobEvent::Missed { run: Box::new(run) });
        }
        Ok(())
    }

    /// How long until something is due.
    fn until_next(&self, watched: &[Watched<'_>]) -> Duration {
        let now = (self.clock)();
        let next = watched.iter().filter_map(|one| {
            let schedule = one.job.schedule.as_ref()?;
            schedule.next(one.handled.unwrap_or(now))
        });
        let next = next
            .min()
            .map_or(NAP, |next| Duration::from_millis(next.saturating_sub(now)));
        next.min(NAP)
    }
}
