//! Whom an actor may act as: the directory's search, without those whom a start would refuse.

use std::sync::Arc;

use http::request::Parts;
use time::OffsetDateTime;

use crate::{
    directory::{DirectoryUser, UserDirectory},
    identity::{Actor, Subject},
    impersonation::{Impersonation, Inner},
    policy,
    rejection::Rejection,
    vet::Refusal,
};

/// The most users that one search looks at, allowed or not.
const MOST_SEEN: usize = 1_000;
/// How many the directory is asked for at once.
const AT_ONCE: usize = 100;

/// A part of those whom an actor may act as.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct People {
    /// The users, in the directory's order.
    pub users: Vec<DirectoryUser>,
    /// The `offset` of the next part; `None` when this was the last.
    pub next: Option<usize>,
}

impl Impersonation {
    /// Searches for users whom whoever sent the request may act as: of lower rank, impersonable, consenting where
    /// that is required, and allowed by [`AdminChecker::authorize`](crate::AdminChecker::authorize) (rule S1). Nobody
    /// else is in the answer. Without a directory it is empty.
    ///
    /// `offset` counts the directory's users, not those in the answer: give [`People::next`].
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested` or `Unavailable`.
    pub async fn people(
        &self,
        parts: &Parts,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<People, Rejection> {
        let people = self.inner.try_people(parts, text, limit, offset).await;
        people.map_err(|refusal| self.inner.refused(parts, None, refusal))
    }
}

impl Inner {
    async fn try_people(
        self: &Arc<Self>,
        parts: &Parts,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<People, Refusal> {
        let actor = self.unacted_actor(parts).await?;
        let Some(directory) = &self.directory else {
            return Ok(People::default());
        };
        let people = self.search(&actor, parts, directory.directory(), text, limit, offset);
        people.await.map_err(|refusal| refusal.by(actor.id()))
    }

    async fn search(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        directory: &dyn UserDirectory,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<People, Refusal> {
        let now = self.clock.now()?;
        let mut users = Vec::new();
        let mut at = offset;
        while at - offset < MOST_SEEN {
            let found = async { directory.search(text, AT_ONCE, at).await };
            let found = self.ask("directory", found).await?;
            let was_last = found.len() < AT_ONCE;
            for user in found {
                if users.len() == limit {
                    let next = Some(at);
                    return Ok(People { users, next });
                }
                at += 1;
                if self.may_be_acted_as(actor, &user, parts, now).await? {
                    users.push(user);
                }
            }
            if was_last {
                return Ok(People { users, next: None });
            }
        }
        let next = Some(at);
        Ok(People { users, next })
    }

    /// What a start would ask, of a user that is already at hand.
    async fn may_be_acted_as(
        &self,
        actor: &Actor,
        user: &DirectoryUser,
        parts: &Parts,
        now: OffsetDateTime,
    ) -> Result<bool, Refusal> {
        if policy::may_act(actor, user.id(), Some(user)).is_err() {
            return Ok(false);
        }
        let subject = Subject::User(user.id().clone());
        if self.may_ask(actor, &subject, parts).await?.is_err() {
            return Ok(false);
        }
        let Some(consent) = &self.consent else {
            return Ok(true);
        };
        let until = async { consent.allowed_until(user.id()).await };
        let until = self.ask("consent", until).await?;
        Ok(until.is_some_and(|until| now < until))
    }
}
