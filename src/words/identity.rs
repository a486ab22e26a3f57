//! Who is who: [`UserId`], the [`Actor`] who is really there, the [`Subject`] acted as.
//!
//! The words are those of [RFC 8693](https://www.rfc-editor.org/rfc/rfc8693#section-4.1): the *actor*
//! is the person at the keyboard, the *subject* is whose data it is.

use std::{fmt, ops::BitOr, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The marker form of the anonymous visitor.
pub(crate) const ANONYMOUS: &str = "~anon";
/// The marker form of the service role.
pub(crate) const SERVICE: &str = "~service";

/// A user's id, as your application writes it. Cheap to clone.
///
/// 1 to 128 bytes of UTF-8 without control characters (rule [R3](crate::rules#r3)). `~anon` and `~service` are
/// reserved: they name the two subjects that are not users.
///
/// ```
/// use tower_impersonation::UserId;
///
/// let id: UserId = "42".parse()?;
/// assert_eq!(id.as_str(), "42");
/// assert!(UserId::new("").is_err());
/// assert!(UserId::new("~anon").is_err());
///
/// // Integers and UUIDs convert without a check, and back into their own type.
/// let id = UserId::from(42_u32);
/// assert_eq!(id.parse_as(), Ok(42_u32));
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

/// A text that cannot be a [`UserId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUserId {
    /// It is empty.
    #[error("a user id must not be empty")]
    Empty,
    /// It is longer than [`UserId::MAX_LEN`].
    #[error("a user id must not be longer than {} bytes", UserId::MAX_LEN)]
    TooLong,
    /// It contains a control character.
    #[error("a user id must not hold control characters")]
    Control,
    /// It is `~anon` or `~service`.
    #[error("`{ANONYMOUS}` and `{SERVICE}` are no users")]
    Reserved,
}

/// How much a person may do, as one number. You choose the numbers.
///
/// An actor may act only as subjects of *strictly* lower rank (rule [S1](crate::rules#s1)), so two admins of the
/// same rank cannot act as each other.
///
/// ```
/// use tower_impersonation::Rank;
///
/// const CUSTOMER: Rank = Rank(0);
/// const SUPPORT: Rank = Rank(10);
/// assert!(CUSTOMER < SUPPORT);
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Rank(pub u32);

/// What an actor may do beyond their own sessions. Default: nothing.
///
/// ```
/// use tower_impersonation::Rights;
///
/// let rights = Rights::LIST_SESSIONS | Rights::END_SESSIONS;
/// assert!(rights.contains(Rights::END_SESSIONS));
/// assert!(!Rights::default().contains(Rights::SERVICE));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights(u8);

/// The person really there: an admin, as [`AdminChecker::identify`](crate::AdminChecker::identify)
/// found them.
///
/// Cheap to clone; a checker may keep actors and hand out clones.
///
/// ```
/// use tower_impersonation::{Actor, Rank, Rights};
///
/// let ada = Actor::new("ada".parse()?, Rank(20))
///     .with_login("ada@shop.example")
///     .with_role("admin")
///     .with_rights(Rights::LIST_SESSIONS);
/// assert_eq!(ada.id().as_str(), "ada");
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Actor {
    id: UserId,
    rank: Rank,
    rights: Rights,
    login: Option<Arc<str>>,
    role: Option<Arc<str>>,
}

/// The person or role that an actor acts as.
///
/// In a marker and in the trail it is one word: the user's id, `~anon` or `~service`.
///
/// ```
/// use tower_impersonation::Subject;
///
/// assert_eq!("~anon".parse::<Subject>()?, Subject::Anonymous);
/// assert_eq!("42".parse::<Subject>()?.to_string(), "42");
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Subject {
    /// A user.
    User(UserId),
    /// The anonymous visitor: what someone sees who has not signed in.
    Anonymous,
    /// The service role. Needs [`Rights::SERVICE`].
    Service,
}

/// What an acted request may do. Ordered: read-only is less than read-write.
///
/// ```
/// use tower_impersonation::Access;
///
/// assert!(Access::ReadOnly < Access::ReadWrite);
/// assert_eq!(Access::default(), Access::ReadOnly);
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Access {
    /// Look, but change nothing (rule [R10](crate::rules#r10)). The default.
    #[default]
    ReadOnly,
    /// Everything that the subject may do, but for protected routes (rule [R11](crate::rules#r11)).
    ReadWrite,
}

// === impl UserId ===

impl UserId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Takes `id` as a user's id.
    ///
    /// # Errors
    ///
    /// [`InvalidUserId`] if it is empty, too long, reserved, or contains control characters.
    pub fn new(id: impl Into<Arc<str>> + AsRef<str>) -> Result<Self, InvalidUserId> {
        Self::check(id.as_ref())?;
        Ok(Self(id.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the host's own type: an integer, a UUID.
    ///
    /// A marker can contain any text. In a directory, text that is not one of your ids is nobody:
    ///
    /// ```
    /// use tower_impersonation::UserId;
    ///
    /// let id: UserId = "42".parse()?;
    /// assert_eq!(id.parse_as::<i64>(), Ok(42));
    /// assert!("ines".parse::<UserId>()?.parse_as::<i64>().is_err());
    /// # Ok::<(), tower_impersonation::InvalidUserId>(())
    /// ```
    ///
    /// Some types read several texts as one value (`042`, `+42`). The directory then answers with another id than
    /// it was asked for, and that answer counts as "no such user" (rule [R8](crate::rules#r8)).
    ///
    /// # Errors
    ///
    /// The error of `T` if the id is not a `T`.
    pub fn parse_as<T: FromStr>(&self) -> Result<T, T::Err> {
        self.0.parse()
    }

    fn check(id: &str) -> Result<(), InvalidUserId> {
        match id {
            "" => Err(InvalidUserId::Empty),
            ANONYMOUS | SERVICE => Err(InvalidUserId::Reserved),
            _ if id.len() > Self::MAX_LEN => Err(InvalidUserId::TooLong),
            _ if id.chars().any(char::is_control) => Err(InvalidUserId::Control),
            _ => Ok(()),
        }
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(id: &str) -> Result<Self, InvalidUserId> {
        Self::new(id)
    }
}

/// Neither is ever empty, too long or reserved.
macro_rules! user_id_from {
    ($($plain:ty),*) => {$(
        impl From<$plain> for UserId {
            fn from(id: $plain) -> Self {
                Self(id.to_string().into())
            }
        }
    )*};
}

user_id_from!(u32, u64, i32, i64, uuid::Uuid);

impl AsRef<str> for UserId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({:?})", &*self.0)
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        Self::new(id).map_err(serde::de::Error::custom)
    }
}

// === impl Rights ===

impl Rights {
    /// See the sessions of other actors.
    pub const LIST_SESSIONS: Self = Self(1);
    /// End the sessions of other actors.
    pub const END_SESSIONS: Self = Self(1 << 1);
    /// Read the trail of other actors.
    pub const READ_TRAIL: Self = Self(1 << 2);
    /// Act as the service role.
    pub const SERVICE: Self = Self(1 << 3);

    /// Every right there is.
    #[must_use]
    pub fn all() -> Self {
        Self::LIST_SESSIONS | Self::END_SESSIONS | Self::READ_TRAIL | Self::SERVICE
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

// === impl Actor ===

impl Actor {
    /// An admin of this rank, without [`Rights`].
    #[must_use]
    pub fn new(id: UserId, rank: Rank) -> Self {
        Self {
            id,
            rank,
            rights: Rights::default(),
            login: None,
            role: None,
        }
    }

    /// What the actor signs in with, shown in banners and lists. Default: none.
    #[must_use]
    pub fn with_login(mut self, login: impl Into<Arc<str>>) -> Self {
        self.login = Some(login.into());
        self
    }

    /// The name of the actor's role. Default: none. Handlers never see it (rule [R14](crate::rules#r14)).
    #[must_use]
    pub fn with_role(mut self, role: impl Into<Arc<str>>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// What the actor may do beyond their own sessions. Default: nothing.
    #[must_use]
    pub fn with_rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// The actor's own user id.
    #[must_use]
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// The actor's rank.
    #[must_use]
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The actor's rights over the sessions of others.
    #[must_use]
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// What the actor signs in with.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// The actor's role.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor")
            .field("id", &self.id)
            .field("rank", &self.rank)
            .finish_non_exhaustive()
    }
}

// === impl Subject ===

impl Subject {
    /// The subject in one word, as a marker names it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::User(id) => id.as_str(),
            Self::Anonymous => ANONYMOUS,
            Self::Service => SERVICE,
        }
    }

    /// The user's id, when it is a user.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Anonymous | Self::Service => None,
        }
    }

    /// `user`, `anon` or `service`: the `impersonation_type` of the HTTP contract.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Anonymous => "anon",
            Self::Service => "service",
        }
    }
}

impl FromStr for Subject {
    type Err = InvalidUserId;

    fn from_str(marker: &str) -> Result<Self, InvalidUserId> {
        match marker {
            ANONYMOUS => Ok(Self::Anonymous),
            SERVICE => Ok(Self::Service),
            id => id.parse().map(Self::User),
        }
    }
}

impl From<UserId> for Subject {
    fn from(id: UserId) -> Self {
        Self::User(id)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({:?})", self.as_str())
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

// === impl Access ===

impl Access {
    /// `read_only` or `read_write`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::ReadWrite => "read_write",
        }
    }

    /// The access of this word, if it is one. Stores that find another word take it for read-only.
    #[must_use]
    pub fn known(word: &str) -> Option<Self> {
        match word {
            "read_only" => Some(Self::ReadOnly),
            "read_write" => Some(Self::ReadWrite),
            _ => None,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::macros::datetime;

    use super::*;
    use crate::{
        Caller, Decision, DirectoryUser, SessionWithUser, StartRequest,
        clock::SystemClock,
        session::{Session, SessionId},
        words::ActingAs,
    };

    fn id(id: &str) -> UserId {
        id.parse().unwrap()
    }

    #[test]
    fn r3_an_id_is_1_to_128_bytes_without_controls() {
        let longest = "x".repeat(128);
        let tests = [
            ("42", Ok(())),
            (" ", Ok(())),
            ("é", Ok(())),
            ("a/b?c#d&e=f%20", Ok(())),
            ("~anonymous", Ok(())),
            (&*longest, Ok(())),
            ("", Err(InvalidUserId::Empty)),
            (&*format!("{longest}x"), Err(InvalidUserId::TooLong)),
            (&*"é".repeat(65), Err(InvalidUserId::TooLong)),
            ("a\nb", Err(InvalidUserId::Control)),
            ("\0", Err(InvalidUserId::Control)),
            ("\u{7f}", Err(InvalidUserId::Control)),
            ("\u{85}", Err(InvalidUserId::Control)),
            ("~anon", Err(InvalidUserId::Reserved)),
            ("~service", Err(InvalidUserId::Reserved)),
        ];
        for (text, expected) in tests {
            assert_eq!(UserId::new(text).map(drop), expected, "{text:?}");
            assert_eq!(text.parse::<UserId>().map(drop), expected, "{text:?}");
            // What comes out of a store or a body has to pass the same check.
            let json = serde_json::to_string(text).unwrap();
            let read = serde_json::from_str::<UserId>(&json);
            assert_eq!(read.is_ok(), expected.is_ok(), "{text:?}");
        }
    }

    #[test]
    fn r3_numbers_and_uuids_are_ids_and_come_back() {
        assert_eq!(UserId::from(u32::MAX).parse_as(), Ok(u32::MAX));
        assert_eq!(UserId::from(i32::MIN).parse_as(), Ok(i32::MIN));
        assert_eq!(UserId::from(u64::MAX).parse_as(), Ok(u64::MAX));
        assert_eq!(UserId::from(i64::MIN).parse_as(), Ok(i64::MIN));
        let uuid = uuid::Uuid::from_u128(7);
        assert_eq!(UserId::from(uuid).parse_as(), Ok(uuid));
        assert_eq!(
            UserId::from(uuid).as_str(),
            "00000000-0000-0000-0000-000000000007"
        );
        assert!(UserId::from(-1_i64).parse_as::<u64>().is_err());
        assert!(id("4 2").parse_as::<u64>().is_err());
    }

    #[test]
    fn r3_a_subject_is_one_word_and_comes_back_from_it() {
        let tests = [
            (Subject::Anonymous, "~anon", "anon", None),
            (Subject::Service, "~service", "service", None),
            (Subject::User(id("42")), "42", "user", Some(id("42"))),
        ];
        for (subject, word, kind, user) in tests {
            assert_eq!(subject.as_str(), word);
            assert_eq!(subject.to_string(), word);
            assert_eq!(subject.kind(), kind);
            assert_eq!(subject.user_id(), user.as_ref());
            assert_eq!(word.parse(), Ok(subject.clone()));
            let json = serde_json::to_string(&subject).unwrap();
            assert_eq!(serde_json::from_str::<Subject>(&json).unwrap(), subject);
        }
        assert!(serde_json::from_str::<Subject>("\"\"").is_err());
    }

    #[test]
    fn rights_are_given_one_by_one() {
        let each = [
            Rights::LIST_SESSIONS,
            Rights::END_SESSIONS,
            Rights::READ_TRAIL,
            Rights::SERVICE,
        ];
        for one in each {
            assert!(Rights::all().contains(one));
            assert!(!Rights::default().contains(one));
            assert!((one | Rights::default()).contains(one));
            let others = each.into_iter().filter(|other| *other != one);
            let others = others.fold(Rights::default(), BitOr::bitor);
            assert!(!others.contains(one), "{one:?}");
            assert!(!others.contains(Rights::all()));
        }
    }

    /// Logs are read by more people than may know who signs in with what.
    #[test]
    fn debug_never_shows_logins_names_reasons_or_records() {
        let at = datetime!(2026-11-20 12:00 UTC);
        let actor = Actor::new(id("ada"), Rank(20))
            .with_login("SECRET-login")
            .with_role("SECRET-role");
        let subject = Subject::User(id("ines"));
        let user = DirectoryUser::new(id("ines"), Rank(0))
            .with_login("SECRET-login")
            .with_display_name("SECRET-name")
            .with_role("SECRET-role")
            .with_data("SECRET-record");
        let session_id = SessionId(uuid::Uuid::nil());
        let mut session =
            Session::new(session_id, id("ada"), subject.clone(), "SECRET-why", at, at);
        session.ticket = Some("SECRET-ticket".into());
        session.user_agent = Some("SECRET-agent".into());
        session.address = Some([10, 9, 8, 7].into());
        let acting_as = ActingAs::by_request(
            actor.clone(),
            subject.clone(),
            Some(user.clone()),
            Access::ReadOnly,
            Some("SECRET-why".to_owned()),
            Arc::new(SystemClock),
        );
        let with_user = SessionWithUser {
            session: Arc::new(session.clone()),
            user: Some(user.clone()),
        };
        let shown = [
            format!("{actor:?}"),
            format!("{:?}", Caller::Admin(actor)),
            format!("{:?}", Decision::deny("no")),
            format!("{subject:?}"),
            format!("{user:?}"),
            format!("{session:?}"),
            format!("{with_user:?}"),
            format!("{acting_as:?}"),
            format!("{:?}", StartRequest::for_login("SECRET-login", "ticket 1")),
        ]
        .join("\n");
        insta::assert_snapshot!(shown, @r#"
    Actor { id: UserId("ada"), rank: Rank(20), .. }
    Admin(Actor { id: UserId("ada"), rank: Rank(20), .. })
    Deny("no")
    Subject("ines")
    DirectoryUser { id: UserId("ines"), rank: Rank(0), .. }
    Session { id: SessionId(00000000-0000-0000-0000-000000000000), actor: UserId("ada"), subject: Subject("ines"), access: ReadOnly, ended_reason: None, .. }
    SessionWithUser { session: Session { id: SessionId(00000000-0000-0000-0000-000000000000), actor: UserId("ada"), subject: Subject("ines"), access: ReadOnly, ended_reason: None, .. }, user: Some(DirectoryUser { id: UserId("ines"), rank: Rank(0), .. }) }
    ActingAs { actor: Actor { id: UserId("ada"), rank: Rank(20), .. }, subject: Subject("ines"), access: ReadOnly, .. }
    StartRequest { subject: Login(REDACTED), reason: "ticket 1", access: ReadOnly, ticket: None, duration: None }
    "#);
        assert!(!shown.contains("SECRET") && !shown.contains("10.9.8.7"));
    }
}
