//! What a host implements. [`Host`] calls all of it, with a time-out and so that no failure can pass for a yes (rule
//! [R13](crate::rules#r13)).
//!
//! | trait | answers |
//! | --- | --- |
//! | [`AdminChecker`] | who calls, and may they act as this subject? |
//! | [`UserDirectory`] | who is this user, and of which rank? |
//! | [`Consent`] | has this user allowed it? |
//! | [`Notifier`] | (tells the user) |
//! | [`CredentialIssuer`] | which login does a session get? |
//!
//! [`Assume`] is what handlers find on an acted request in place of the actor's own login.

mod answer;
mod assume;
mod checker;
mod consent;
mod credentials;
mod directory;
mod notifier;

use std::sync::Arc;

use http::request::Parts;
use time::OffsetDateTime;

pub(crate) use self::{
    answer::{Calls, NoAnswer, Unanswered, guarded},
    assume::{Assume, Change, Missing, Place, TypePlace},
    directory::DirectoryCache,
    notifier::Notifying,
};
pub use self::{
    checker::{
        AdminChecker, Caller, CheckerAsyncFn, CheckerFn, Decision, Grant, checker_async_fn,
        checker_fn,
    },
    consent::{Consent, MemoryConsents},
    credentials::{CredentialIssuer, Credentials},
    directory::{DirectoryFn, MemoryDirectory, UserDirectory, directory_fn},
    notifier::{Notice, Notifier, NotifierFn, notifier_fn},
};
use crate::words::{ActingAs, Actor, DirectoryUser, Subject, UserId, join_all};

/// Everything that a host has given, and how it is called.
pub(crate) struct Host {
    pub(crate) calls: Calls,
    pub(crate) checker: Arc<dyn AdminChecker>,
    pub(crate) directory: Option<DirectoryCache>,
    pub(crate) consent: Option<Arc<dyn Consent>>,
    pub(crate) notifying: Option<Notifying>,
    pub(crate) issuer: Option<Arc<dyn CredentialIssuer>>,
    pub(crate) assume: Vec<Assume>,
}

impl Host {
    /// Who sent this request.
    pub(crate) fn identify(
        &self,
        parts: &Parts,
    ) -> impl Future<Output = Result<Caller, Unanswered>> + Send {
        // Not an async fn: a future around a future costs acted requests more than a hundred instructions.
        self.calls
            .ask("checker", async { self.checker.identify(parts).await })
    }

    /// Whether this actor may act as this subject.
    pub(crate) fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
    ) -> impl Future<Output = Result<Decision, Unanswered>> + Send {
        let decision = async move { self.checker.authorize(actor, subject, parts).await };
        self.calls.ask("checker", decision)
    }

    /// The admin with this id, where the request does not carry their own login.
    #[cfg_attr(not(feature = "jwt"), expect(dead_code, reason = "for tokens"))]
    pub(crate) async fn actor(&self, id: &UserId) -> Result<Option<Actor>, Unanswered> {
        let found = async { self.checker.actor(id).await };
        let found = self.calls.ask("checker", found).await?;
        Ok(found.filter(|actor| actor.id() == id))
    }

    /// The directory's answer now; `None` also where there is no directory.
    pub(crate) async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, Unanswered> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        let found = async { directory.directory().find(id).await };
        self.calls.ask("directory", found).await
    }

    /// The user with this e-mail address or public id.
    pub(crate) async fn find_by_login(
        &self,
        login: &str,
    ) -> Result<Option<DirectoryUser>, Unanswered> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        let found = async { directory.directory().find_by_login(login).await };
        self.calls.ask("directory", found).await
    }

    /// Users whose id, login or name contains `text`.
    pub(crate) async fn search(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<DirectoryUser>, Unanswered> {
        let Some(directory) = &self.directory else {
            return Ok(Vec::new());
        };
        let found = async { directory.directory().search(text, limit, offset).await };
        self.calls.ask("directory", found).await
    }

    /// The users with these ids, as far as the directory gives any answer. After the first failure it is not asked
    /// again, so that a directory that hangs costs its time only once.
    pub(crate) async fn names(&self, ids: &[&UserId], now: OffsetDateTime) -> Vec<DirectoryUser> {
        const AT_ONCE: usize = 8;

        let mut users = Vec::new();
        let Some(directory) = &self.directory else {
            return users;
        };
        for some in ids.chunks(AT_ONCE) {
            let found = some.iter().map(|id| async move {
                match directory.recent(id, now) {
                    Some(user) => Ok(Some(user)),
                    None => self.find(id).await,
                }
            });
            let mut failed = false;
            for (id, found) in some.iter().zip(join_all(found).await) {
                match found {
                    // A directory that is lenient about ids may answer with another user.
                    Ok(user) => users.extend(user.filter(|user| user.id() == *id)),
                    Err(_) => failed = true,
                }
            }
            if failed {
                break;
            }
        }
        users
    }

    /// Whether this user allows support access at `now`: the one place where consent is asked (rule
    /// [S8](crate::rules#s8)).
    pub(crate) async fn has_consent(
        &self,
        id: &UserId,
        now: OffsetDateTime,
    ) -> Result<bool, Unanswered> {
        let Some(consent) = &self.consent else {
            return Ok(true);
        };
        let until = async { consent.allowed_until(id).await };
        let until = self.calls.ask("consent", until).await?;
        // At that very time it is over.
        Ok(until.is_some_and(|until| now < until))
    }

    /// Why handlers would not see the subject of this request, if so (rule [R14](crate::rules#r14)).
    pub(crate) fn missing(&self, parts: &Parts) -> Option<Missing> {
        let all = &self.assume;
        all.iter().find_map(|assume| assume.missing(parts, all))
    }

    /// What to change about an acted request for its handlers (rule [R14](crate::rules#r14)). Nothing is changed yet.
    pub(crate) async fn assumed(
        &self,
        acting_as: &ActingAs,
        parts: &Parts,
    ) -> Result<Vec<Change>, Unanswered> {
        let mut changes = Vec::with_capacity(self.assume.len());
        for assume in &self.assume {
            let change = async { assume.load(acting_as.clone(), parts).await };
            changes.push(self.calls.ask(assume.setting, change).await?);
        }
        Ok(changes)
    }
}
