//! The people a host knows: [`UserDirectory`], which turns an id into rank, role and login.

use std::{
    any::Any,
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    BoxError, Map,
    identity::{Rank, UserId},
};

/// Looks up the users that may be acted as.
///
/// Optional, but without it this crate cannot compare ranks (rule S1): then
/// [`AdminChecker::authorize`](crate::AdminChecker::authorize) alone decides. With it, a subject that
/// it does not know is refused.
///
/// An answer may be kept for the time set by
/// [`directory_cache`](crate::Builder::directory_cache); an answer that refuses never is.
#[async_trait]
pub trait UserDirectory: Send + Sync + 'static {
    /// The user with this id.
    async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, BoxError>;

    /// The user with this e-mail address or public id. The default knows nobody by either.
    async fn find_by_login(&self, login: &str) -> Result<Option<DirectoryUser>, BoxError> {
        let _ = login;
        Ok(None)
    }

    /// Users whose id, login or name contains `text`, in a stable order. The default finds nobody.
    async fn search(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<DirectoryUser>, BoxError> {
        let _ = (text, limit, offset);
        Ok(Vec::new())
    }
}

/// One user, as the directory knows them. Cheap to clone.
///
/// ```
/// use tower_impersonation::{DirectoryUser, Rank};
///
/// let ines = DirectoryUser::new("ines".parse()?, Rank(0))
///     .with_login("ines@shop.example")
///     .with_role("customer");
/// assert!(ines.not_impersonable().is_none());
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Clone)]
pub struct DirectoryUser {
    id: UserId,
    rank: Rank,
    login: Option<Arc<str>>,
    display_name: Option<Arc<str>>,
    role: Option<Arc<str>>,
    not_impersonable: Option<Cow<'static, str>>,
    data: Option<Arc<dyn Any + Send + Sync>>,
}

/// A directory in memory, for tests and small programs. Clones share their users.
///
/// ```
/// use tower_impersonation::{DirectoryUser, MemoryDirectory, Rank};
///
/// let users = MemoryDirectory::default();
/// users.insert(DirectoryUser::new("ines".parse()?, Rank(0)));
/// assert!(users.remove(&"ines".parse()?).is_some());
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryDirectory {
    users: Arc<RwLock<BTreeMap<UserId, DirectoryUser>>>,
}

/// Keeps what a directory answered, for a while. Reads take no lock.
pub(crate) struct DirectoryCache {
    inner: Arc<dyn UserDirectory>,
    keep: Duration,
    kept: Map<UserId, (DirectoryUser, OffsetDateTime)>,
}

// === impl DirectoryUser ===

impl DirectoryUser {
    /// A user of this rank who may be acted as.
    #[must_use]
    pub fn new(id: UserId, rank: Rank) -> Self {
        Self {
            id,
            rank,
            login: None,
            display_name: None,
            role: None,
            not_impersonable: None,
            data: None,
        }
    }

    /// What the user signs in with: an e-mail address as a rule. Default: none.
    #[must_use]
    pub fn with_login(mut self, login: impl Into<Arc<str>>) -> Self {
        self.login = Some(login.into());
        self
    }

    /// The user's name for people to read. Default: none.
    #[must_use]
    pub fn with_display_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.display_name = Some(name.into());
        self
    }

    /// The user's role. Default: none.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<Arc<str>>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// Nobody may act as this user, and why: opted out, a system account, locked. The reason goes to
    /// the trail. Default: anyone of higher rank may.
    #[must_use]
    pub fn not_impersonable_because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.not_impersonable = Some(reason.into());
        self
    }

    /// The host's own record of the user, for [`assume`](crate::Builder::assume) to pick up.
    #[must_use]
    pub fn with_data<T: Any + Send + Sync>(mut self, data: T) -> Self {
        self.data = Some(Arc::new(data));
        self
    }

    /// The user's id.
    #[must_use]
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// The user's rank.
    #[must_use]
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// What the user signs in with.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// The user's name.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        self.display_name.as_deref()
    }

    /// The user's role.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// Why nobody may act as this user, if so.
    #[must_use]
    pub fn not_impersonable(&self) -> Option<&str> {
        self.not_impersonable.as_deref()
    }

    /// The host's own record, when it is a `T`.
    #[must_use]
    pub fn data<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.data.as_deref()?.downcast_ref()
    }

    pub(crate) fn shared_role(&self) -> Option<Arc<str>> {
        self.role.clone()
    }
}

impl fmt::Debug for DirectoryUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryUser")
            .field("id", &self.id)
            .field("rank", &self.rank)
            .finish_non_exhaustive()
    }
}

// === impl MemoryDirectory ===

impl MemoryDirectory {
    /// Adds a user, or replaces the one with the same id.
    pub fn insert(&self, user: DirectoryUser) {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.insert(user.id.clone(), user);
    }

    /// Takes a user out.
    pub fn remove(&self, id: &UserId) -> Option<DirectoryUser> {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.remove(id)
    }
}

impl FromIterator<DirectoryUser> for MemoryDirectory {
    fn from_iter<I: IntoIterator<Item = DirectoryUser>>(users: I) -> Self {
        let directory = Self::default();
        users.into_iter().for_each(|user| directory.insert(user));
        directory
    }
}

#[async_trait]
impl UserDirectory for MemoryDirectory {
    async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, BoxError> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        Ok(users.get(id).cloned())
    }

    async fn find_by_login(&self, login: &str) -> Result<Option<DirectoryUser>, BoxError> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let is_it = |user: &&DirectoryUser| {
            user.login()
                .is_some_and(|known| known.eq_ignore_ascii_case(login))
        };
        Ok(users.values().find(is_it).cloned())
    }

    async fn search(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<DirectoryUser>, BoxError> {
        let text = text.to_lowercase();
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let has_it = |user: &&DirectoryUser| {
            [Some(user.id().as_str()), user.login(), user.display_name()]
                .into_iter()
                .flatten()
                .any(|field| field.to_lowercase().contains(&text))
        };
        let found = users.values().filter(has_it).skip(offset).take(limit);
        Ok(found.cloned().collect())
    }
}

// === impl DirectoryCache ===

impl DirectoryCache {
    /// More users than this are not kept: the cache starts over.
    const MOST: usize = 10_000;

    pub(crate) fn new(inner: Arc<dyn UserDirectory>, keep: Duration) -> Self {
        Self {
            inner,
            keep,
            kept: Map::default(),
        }
    }

    pub(crate) fn directory(&self) -> &dyn UserDirectory {
        &*self.inner
    }

    /// What is kept of this user and not too old.
    pub(crate) fn recent(&self, id: &UserId, now: OffsetDateTime) -> Option<DirectoryUser> {
        if self.keep.is_zero() {
            return None;
        }
        let kept = self.kept.pin();
        let (user, since) = kept.get(id)?;
        (now - *since < self.keep).then(|| user.clone())
    }

    /// Keeps an answer that was good enough to act on (denials are never kept, rule R8).
    pub(crate) fn keep(&self, user: &DirectoryUser, now: OffsetDateTime) {
        if self.keep.is_zero() {
            return;
        }
        let kept = self.kept.pin();
        if kept.len() >= Self::MOST {
            kept.clear();
        }
        kept.insert(user.id.clone(), (user.clone(), now));
    }

    pub(crate) fn forget(&self, id: &UserId) {
        self.kept.pin().remove(id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
    const KEEP: Duration = Duration::from_secs(30);

    fn user(id: &str) -> DirectoryUser {
        DirectoryUser::new(id.parse().unwrap(), Rank(0))
    }

    fn cache(keep: Duration) -> DirectoryCache {
        DirectoryCache::new(Arc::new(MemoryDirectory::default()), keep)
    }

    #[test]
    fn r8_an_answer_is_kept_for_its_time_and_not_longer() {
        let (cache, ines) = (cache(KEEP), user("ines"));
        assert!(cache.recent(ines.id(), START).is_none());
        cache.keep(&ines, START);
        let almost = KEEP - Duration::from_nanos(1);
        assert!(cache.recent(ines.id(), START + almost).is_some());
        assert!(cache.recent(ines.id(), START + KEEP).is_none());
        assert!(cache.recent(user("otto").id(), START).is_none());

        cache.keep(&ines, START + KEEP);
        assert!(cache.recent(ines.id(), START + KEEP + almost).is_some());
        cache.forget(ines.id());
        assert!(cache.recent(ines.id(), START + KEEP).is_none());
    }

    #[test]
    fn r8_no_time_keeps_nothing() {
        let (cache, ines) = (cache(Duration::ZERO), user("ines"));
        cache.keep(&ines, START);
        assert!(cache.recent(ines.id(), START).is_none());
        assert!(cache.kept.is_empty());
    }

    #[test]
    fn r8_what_is_kept_has_an_end() {
        let cache = cache(KEEP);
        for number in 0..=DirectoryCache::MOST {
            cache.keep(&user(&number.to_string()), START);
        }
        assert_eq!(cache.kept.len(), 1);
    }

    #[tokio::test]
    async fn the_directory_in_memory_finds_by_id_login_and_text() {
        let users: MemoryDirectory = [
            user("1").with_login("Ines@shop.example"),
            user("2").with_display_name("Otto Ines"),
            user("3").with_login("eve@shop.example"),
        ]
        .into_iter()
        .collect();
        let ids = |users: Vec<DirectoryUser>| -> Vec<String> {
            users.iter().map(|user| user.id().to_string()).collect()
        };

        assert!(users.find(&"3".parse().unwrap()).await.unwrap().is_some());
        assert!(users.find(&"4".parse().unwrap()).await.unwrap().is_none());
        let found = users.find_by_login("ines@SHOP.example").await.unwrap();
        assert_eq!(found.unwrap().id().as_str(), "1");
        // The whole login, and never a user who has none.
        for login in ["ines", "", "2", "Otto Ines"] {
            assert!(
                users.find_by_login(login).await.unwrap().is_none(),
                "{login}"
            );
        }
        assert_eq!(ids(users.search("INES", 10, 0).await.unwrap()), ["1", "2"]);
        assert_eq!(ids(users.search("ines", 1, 1).await.unwrap()), ["2"]);
        assert_eq!(ids(users.search("shop", 0, 0).await.unwrap()), [""; 0]);

        users.insert(user("3").with_login("new@shop.example"));
        assert!(
            users
                .find_by_login("eve@shop.example")
                .await
                .unwrap()
                .is_none()
        );
        assert!(users.remove(&"3".parse().unwrap()).is_some());
        assert!(users.find(&"3".parse().unwrap()).await.unwrap().is_none());
    }

    #[test]
    fn a_record_comes_back_only_as_what_it_is() {
        let ines = user("ines").with_data(7_u64);
        assert_eq!(ines.data::<u64>(), Some(&7));
        assert_eq!(ines.data::<u32>(), None);
        assert_eq!(user("otto").data::<u64>(), None);
    }
}
