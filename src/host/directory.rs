//! The people a host knows: [`UserDirectory`], which turns an id into rank, role and login.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::words::{BoxError, DirectoryUser, Map, UserId};

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

// === impl MemoryDirectory ===

impl MemoryDirectory {
    /// Adds a user, or replaces the one with the same id.
    pub fn insert(&self, user: DirectoryUser) {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.insert(user.id().clone(), user);
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
        kept.insert(user.id().clone(), (user.clone(), now));
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
    use crate::words::Rank;

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
