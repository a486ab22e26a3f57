//! [`UserDirectory`]: the users you have, which turns an id into a rank, a role and a login.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::words::{BoxError, DirectoryUser, Map, UserId};

/// Looks up users as whom one can act.
///
/// It is optional. Without it this crate cannot compare ranks (rule [S1](crate::rules#s1)), so
/// [`AdminChecker::authorize`](crate::AdminChecker::authorize) alone decides. With it, a subject that it does not
/// know is refused.
///
/// An answer may be kept for the time set by [`directory_cache`](crate::Builder::directory_cache), unless it leads to a
/// refusal.
///
/// [`directory_fn`] makes one from a function.
///
/// ```
/// use tower_impersonation::{BoxError, DirectoryUser, Rank, UserDirectory, UserId, async_trait};
///
/// # #[derive(Clone)]
/// # struct Customer { id: u32, email: String }
/// # struct Shop;
/// # impl Shop { async fn customer(&self, _: u32) -> Result<Option<Customer>, BoxError> { Ok(None) } }
/// #[async_trait]
/// impl UserDirectory for Shop {
///     async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, BoxError> {
///         // What is no id of ours is nobody.
///         let Ok(id) = id.parse_as() else { return Ok(None) };
///         let found = self.customer(id).await?;
///         Ok(found.map(|customer| {
///             DirectoryUser::new(customer.id.into(), Rank(0))
///                 .with_login(customer.email.as_str())
///                 .with_data(customer)
///         }))
///     }
/// }
/// ```
#[async_trait]
pub trait UserDirectory: Send + Sync + 'static {
    /// The user with this id.
    async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, BoxError>;

    /// The user with this e-mail address or public id. Default: nobody.
    async fn find_by_login(&self, login: &str) -> Result<Option<DirectoryUser>, BoxError> {
        let _ = login;
        Ok(None)
    }

    /// Users whose id, login or name contains `text`, in a stable order. Default: nobody.
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

/// A [`UserDirectory`] made from functions; see [`directory_fn`].
pub struct DirectoryFn {
    find: Find<UserId>,
    by_login: Option<Find<String>>,
    search: Option<Search>,
}

type Find<By> = Box<dyn Fn(By) -> Answer<Option<DirectoryUser>> + Send + Sync>;
type Search = Box<dyn Fn(String, usize, usize) -> Answer<Vec<DirectoryUser>> + Send + Sync>;
type Answer<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Makes a [`UserDirectory`] from a function that finds a user by id. Its arguments are owned, so its future can
/// keep them.
///
/// ```
/// use tower_impersonation::{DirectoryUser, Rank, UserId, directory_fn};
///
/// # #[derive(Clone)]
/// # struct Shop;
/// # #[derive(Clone)]
/// # struct Customer { id: u32, email: String }
/// # type Found = Result<Vec<Customer>, std::io::Error>;
/// # impl Shop {
/// #     async fn by_id(&self, _: u32) -> Found { Ok(Vec::new()) }
/// #     async fn by_email(&self, _: &str) -> Found { Ok(Vec::new()) }
/// #     async fn like(&self, _: &str, _: usize, _: usize) -> Found { Ok(Vec::new()) }
/// # }
/// fn known(customer: Customer) -> DirectoryUser {
///     DirectoryUser::new(customer.id.into(), Rank(0))
///         .with_login(customer.email.as_str())
///         .with_data(customer)
/// }
///
/// # let shop = Shop;
/// let (find, by_login) = (shop.clone(), shop.clone());
/// let users = directory_fn(move |id: UserId| {
///     let shop = find.clone();
///     async move {
///         // What is no id of ours is nobody.
///         let Ok(id) = id.parse_as() else { return Ok(None) };
///         Ok(shop.by_id(id).await?.pop().map(known))
///     }
/// })
/// .by_login(move |email| {
///     let shop = by_login.clone();
///     async move { Ok(shop.by_email(&email).await?.pop().map(known)) }
/// })
/// .searchable(move |text, limit, offset| {
///     let shop = shop.clone();
///     async move { Ok(shop.like(&text, limit, offset).await?.into_iter().map(known).collect()) }
/// });
/// ```
pub fn directory_fn<F, Fut>(find: F) -> DirectoryFn
where
    F: Fn(UserId) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<DirectoryUser>, BoxError>> + Send + 'static,
{
    DirectoryFn {
        find: Box::new(move |id| Box::pin(find(id))),
        by_login: None,
        search: None,
    }
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

// === impl DirectoryFn ===

impl DirectoryFn {
    /// Also finds users by e-mail address or public id, see [`UserDirectory::find_by_login`]. Default: nobody.
    #[must_use]
    pub fn by_login<F, Fut>(mut self, find: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<DirectoryUser>, BoxError>> + Send + 'static,
    {
        self.by_login = Some(Box::new(move |login| Box::pin(find(login))));
        self
    }

    /// Also searches: by a text, at most so many users, and from which on. See [`UserDirectory::search`]. Default:
    /// finds nobody.
    #[must_use]
    pub fn searchable<F, Fut>(mut self, search: F) -> Self
    where
        F: Fn(String, usize, usize) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<DirectoryUser>, BoxError>> + Send + 'static,
    {
        let search =
            move |text, limit, offset| -> Answer<_> { Box::pin(search(text, limit, offset)) };
        self.search = Some(Box::new(search));
        self
    }
}

#[async_trait]
impl UserDirectory for DirectoryFn {
    async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, BoxError> {
        (self.find)(id.clone()).await
    }

    async fn find_by_login(&self, login: &str) -> Result<Option<DirectoryUser>, BoxError> {
        match &self.by_login {
            Some(find) => find(login.to_owned()).await,
            None => Ok(None),
        }
    }

    async fn search(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<DirectoryUser>, BoxError> {
        match &self.search {
            Some(search) => search(text.to_owned(), limit, offset).await,
            None => Ok(Vec::new()),
        }
    }
}

impl fmt::Debug for DirectoryFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryFn(<fn>)")
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

    /// Keeps an answer that was good enough to act on (denials are never kept, rule [R8](crate::rules#r8)).
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

    #[tokio::test]
    async fn functions_are_a_directory() {
        let users = directory_fn(|id: UserId| async move {
            match id.as_str() {
                "down" => Err("no connection".into()),
                "ines" => Ok(Some(DirectoryUser::new(id, Rank(0)))),
                _ => Ok(None),
            }
        });
        let ines = user("ines");
        assert!(users.find(ines.id()).await.unwrap().is_some());
        assert!(users.find(user("otto").id()).await.unwrap().is_none());
        assert!(users.find(user("down").id()).await.is_err());
        // Nothing else was said.
        assert!(users.find_by_login("ines").await.unwrap().is_none());
        assert!(users.search("", 10, 0).await.unwrap().is_empty());

        let users = users
            .by_login(|login| async move { Ok(Some(user(&login))) })
            .searchable(|text, limit, offset| async move {
                Ok((offset..offset + limit)
                    .map(|n| user(&format!("{text}{n}")))
                    .collect())
            });
        let found = users.find_by_login("i@shop.example").await.unwrap();
        assert_eq!(found.unwrap().id().as_str(), "i@shop.example");
        let found = users.search("u", 2, 5).await.unwrap();
        let ids: Vec<_> = found.iter().map(|user| user.id().as_str()).collect();
        assert_eq!(ids, ["u5", "u6"]);
        assert_eq!(format!("{users:?}"), "DirectoryFn(<fn>)");
    }

    #[test]
    fn a_record_comes_back_only_as_what_it_is() {
        let ines = user("ines").with_data(7_u64);
        assert_eq!(ines.data::<u64>(), Some(&7));
        assert_eq!(ines.data::<u32>(), None);
        assert_eq!(user("otto").data::<u64>(), None);
    }
}
