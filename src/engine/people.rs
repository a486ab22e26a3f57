//! The users as whom an actor may act: the directory's search, without those whom a start would refuse.

use http::request::Parts;
use time::OffsetDateTime;

use super::{Engine, Refusal};
use crate::{
    policy,
    words::{Actor, DirectoryUser, Subject},
};

/// The most users that one search looks at, allowed or not.
const MOST_SEEN: usize = 1_000;
/// How many the directory is asked for at once.
const AT_ONCE: usize = 100;

/// One page of the users as whom an actor may act. From [`Admin::people`](crate::Admin::people).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct People {
    /// The users, in the directory's order.
    pub users: Vec<DirectoryUser>,
    /// The `offset` of the next part; `None` when this was the last.
    pub next: Option<usize>,
}

impl Engine {
    /// Users whose id, login or name contains `text` and whom `actor` may act as.
    pub(crate) async fn people(
        &self,
        actor: &Actor,
        parts: &Parts,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<People, Refusal> {
        let found = self.try_people(actor, parts, text, limit, offset).await;
        found.map_err(|refusal| refusal.by(actor.id()))
    }

    async fn try_people(
        &self,
        actor: &Actor,
        parts: &Parts,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<People, Refusal> {
        let now = self.now()?;
        let mut users = Vec::new();
        let mut at = offset;
        while at - offset < MOST_SEEN {
            let found = self.host.search(text, AT_ONCE, at).await?;
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
        Ok(self.host.has_consent(user.id(), now).await?)
    }
}
