//! How handlers see the subject (rule [R14](crate::rules#r14)). One of these has to be called.

use std::future::Future;

use http::{HeaderName, HeaderValue};

use super::{Builder, Part};
use crate::{
    host::Assume,
    words::{ActingAs, BoxError},
};

/// # How handlers see the subject
///
/// A required decision: without one, handlers would show the actor's data below the subject's name, and
/// [`build`](Self::build) fails. Several can be made, for several types and headers.
///
/// On an acted request all of it is loaded first, and then changed at once, before the handler runs. An error, a panic
/// or a time-out refuses the request with 503 (rule [R13](crate::rules#r13)).
///
/// What is replaced has to be on the request: if it is not, handlers look elsewhere for their user. Such a request
/// is refused with 503, and the log names the type or the header that is missing. So is one that has an `Arc<T>` or
/// an `Option<T>` where `T` is assumed. The exception is a request whose only login is an acting token (feature
/// `jwt`): there is nothing to replace, so the value is added.
///
/// [`protect`](Self::protect) the routes that hand out credentials, such as an API's `GET /user` that answers with
/// a fresh token: they would give the actor a login of the subject that outlives the session.
impl Builder {
    /// Replaces the `T` in the request's extensions by what `load` returns, or removes it for `None`.
    ///
    /// Give the type by which the handlers know their user, and load the *subject's*.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// #[derive(Clone)]
    /// struct CurrentUser(String);
    ///
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .assume(|acting_as| async move {
    ///         Ok(acting_as.subject().user_id().map(|id| CurrentUser(id.to_string())))
    ///     })
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn assume<T, F, Fut>(self, load: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(ActingAs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, BoxError>> + Send + 'static,
    {
        self.assuming(Assume::value("assume", load))
    }

    /// Replaces the `T` in the request's extensions by the directory's own record of the subject, and removes it for
    /// subjects that are no users. Needs a [`directory`](Self::directory).
    ///
    /// The record is what [`DirectoryUser::with_data`](crate::DirectoryUser::with_data) got. One that is not a `T`
    /// refuses the request with 503.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// use tower_impersonation::{DirectoryUser, MemoryDirectory, Rank};
    ///
    /// #[derive(Clone)]
    /// struct CurrentUser { name: &'static str }
    ///
    /// let ines = DirectoryUser::new("ines".parse()?, Rank(0)).with_data(CurrentUser { name: "Ines" });
    /// let users: MemoryDirectory = [ines].into_iter().collect();
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .directory(users)
    ///     .assume_data::<CurrentUser>()
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assume_data<T: Clone + Send + Sync + 'static>(mut self) -> Self {
        self.needs(Part::Directory, "assume_data", None);
        self.assuming(Assume::data::<T>("assume_data"))
    }

    /// Replaces the `T` in the request's extensions by what `load` makes of it, or removes it for `None`: for types
    /// that know more than the user, such as axum-login's `AuthSession` or a `tower_sessions::Session`.
    ///
    /// `load` gets `None` only where nobody is signed in but by an acting token. A clone of a session often shares its
    /// state with the original: make a new one where that is so, or the change reaches the actor's own session.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// #[derive(Clone)]
    /// struct Auth { user: Option<String>, language: &'static str }
    ///
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .assume_from(|acting_as, old: Option<Auth>| async move {
    ///         let user = acting_as.subject().user_id().map(ToString::to_string);
    ///         Ok(old.map(|old| Auth { user, ..old }))
    ///     })
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn assume_from<T, F, Fut>(self, load: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(ActingAs, Option<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, BoxError>> + Send + 'static,
    {
        self.assuming(Assume::value_from("assume_from", load))
    }

    /// Replaces a header by what `load` returns, or removes it for `None`: for handlers that read a credential by
    /// themselves, such as an extractor that verifies `Authorization`.
    ///
    /// All values of that name go. What is set is a credential of the *subject*: let it live no longer than a request
    /// takes, and [`protect`](Self::protect) the routes that would answer with it.
    ///
    /// ```
    /// use http::{HeaderValue, header::AUTHORIZATION};
    /// # use tower_impersonation::{BoxError, Impersonation, UserId, audit::MemorySink, checker_fn, Caller, Decision};
    /// # fn sign(subject: &UserId) -> Result<String, BoxError> { Ok(format!("signed-for-{subject}")) }
    ///
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .assume_header(AUTHORIZATION, |acting_as| async move {
    ///         let Some(subject) = acting_as.subject().user_id() else {
    ///             return Ok(None);
    ///         };
    ///         let mut value = HeaderValue::try_from(format!("Bearer {}", sign(subject)?))?;
    ///         value.set_sensitive(true);
    ///         Ok(Some(value))
    ///     })
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    ///
    /// [`build`](Self::build) refuses the names of markers and tokens, and headers that carry the request itself,
    /// such as `Content-Length`.
    pub fn assume_header<F, Fut>(self, name: HeaderName, load: F) -> Self
    where
        F: Fn(ActingAs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<HeaderValue>, BoxError>> + Send + 'static,
    {
        self.assuming(Assume::header("assume_header", name, load))
    }

    /// Puts a `T` into the request's extensions that no request has otherwise.
    ///
    /// It replaces nothing: a login that the handlers look for elsewhere is still the actor's. For a type by which they
    /// know their user on other requests too, call [`assume`](Self::assume).
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// #[derive(Clone)]
    /// struct CurrentUser(String);
    /// /// What pages may show to those who help.
    /// #[derive(Clone)]
    /// struct SupportView;
    ///
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .assume(|acting_as| async move { Ok(Some(CurrentUser(acting_as.subject().to_string()))) })
    ///     .assume_new(|_| async { Ok(Some(SupportView)) })
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn assume_new<T, F, Fut>(self, load: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(ActingAs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, BoxError>> + Send + 'static,
    {
        self.assuming(Assume::new_value("assume_new", load))
    }

    /// Replaces nothing: every handler reads [`ActingAs`] itself, or with axum the extractor `Effective` (feature
    /// `axum`).
    ///
    /// What authentication left in the extensions, and every cookie and token on the request, is still the actor's. A
    /// handler that does not look shows the actor's data.
    ///
    /// ```
    /// # use tower_impersonation::{ActingAs, Impersonation, UserId, audit::MemorySink, checker_fn, Caller, Decision};
    /// fn whose_orders(request: &http::Request<()>) -> Option<UserId> {
    ///     let extensions = request.extensions();
    ///     match extensions.get::<ActingAs>() {
    ///         Some(acting_as) => acting_as.subject().user_id().cloned(),
    ///         None => extensions.get::<UserId>().cloned(),
    ///     }
    /// }
    ///
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .handlers_read_acting_as()
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn handlers_read_acting_as(mut self) -> Self {
        self.host.handlers_read = true;
        self
    }

    fn assuming(mut self, assume: Assume) -> Self {
        self.host.assume.push(assume);
        self
    }
}

#[cfg(test)]
mod tests;
