//! [`ActingAs`], the extension that an acted request carries.

use std::{fmt, sync::Arc};

use time::OffsetDateTime;

use super::{
    clock::Clock,
    identity::{Access, Actor, Subject},
    live::Live,
    session::{EndedReason, Session},
    user::DirectoryUser,
};

/// Says that a request is acted: by whom, as whom, and how far. Cheap to clone.
///
/// [`ImpersonationLayer`](crate::ImpersonationLayer) puts it into the extensions of the request and of the response
/// (rule [R14](crate::rules#r14)). A request without it is the caller's own.
///
/// ```
/// use tower_impersonation::ActingAs;
///
/// fn whose_data(request: &http::Request<()>) -> String {
///     match request.extensions().get::<ActingAs>() {
///         Some(acting_as) => format!("{} (really {})", acting_as.subject(), acting_as.actor().id()),
///         None => "the caller's own".to_owned(),
///     }
/// }
/// ```
///
/// With the feature `axum` it is an extractor as well: `ActingAs` for acted requests only, `Option<ActingAs>` for
/// all.
#[derive(Clone)]
pub struct ActingAs(Arc<Inner>);

struct Inner {
    actor: Actor,
    subject: Subject,
    user: Option<DirectoryUser>,
    access: Access,
    /// Of this request, where there is no session.
    reason: Option<String>,
    session: Option<(Arc<Session>, Arc<Live>)>,
    clock: Arc<dyn Clock>,
}

// === impl ActingAs ===

impl ActingAs {
    pub(crate) fn by_request(
        actor: Actor,
        subject: Subject,
        user: Option<DirectoryUser>,
        access: Access,
        reason: Option<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            actor,
            subject,
            user,
            access,
            reason,
            session: None,
            clock,
        }))
    }

    pub(crate) fn by_session(
        actor: Actor,
        user: Option<DirectoryUser>,
        session: Arc<Session>,
        live: Arc<Live>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            actor,
            subject: session.subject.clone(),
            user,
            access: session.access,
            reason: None,
            session: Some((session, live)),
            clock,
        }))
    }

    /// The same with no more than this access. Only before anyone else has it.
    #[cfg_attr(not(feature = "jwt"), expect(dead_code, reason = "for tokens"))]
    pub(crate) fn with_access_at_most(mut self, access: Access) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.access = inner.access.min(access);
        }
        self
    }

    /// The person really there, who is accountable. Do not let their rights decide what the request may do: it acts
    /// as the subject.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }

    /// Whose data this is.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// The subject as the directory knows them: login, role, your own record. `None` without a directory, and for
    /// subjects that are not users.
    ///
    /// ```
    /// # use tower_impersonation::ActingAs;
    /// # fn title(acting_as: &ActingAs) -> String {
    /// let name = acting_as.user().and_then(|user| user.display_name());
    /// format!("Orders of {}", name.unwrap_or(acting_as.subject().as_str()))
    /// # }
    /// ```
    #[must_use]
    pub fn user(&self) -> Option<&DirectoryUser> {
        self.0.user.as_ref()
    }

    /// What the request may do.
    #[must_use]
    pub fn access(&self) -> Access {
        self.0.access
    }

    /// The session that allows this; `None` if the host runs without sessions.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.0.session.as_ref().map(|(session, _)| &**session)
    }

    /// Why: the reason of the session, or without sessions the one that the request gave (`Act-As-Reason`).
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.0.session {
            Some((session, _)) => Some(&session.reason),
            None => self.0.reason.as_deref(),
        }
    }

    /// When the session is over at the latest; `None` without a session.
    #[must_use]
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        self.session().map(|session| session.expires_at)
    }

    /// Waits until the session has ended, for handlers that go on for long: WebSockets, event streams (rule
    /// [R19](crate::rules#r19)). Without a session it waits forever. Response bodies do not have to ask: the layer
    /// cuts them.
    ///
    /// ```
    /// # use tower_impersonation::ActingAs;
    /// # async fn receive() -> Option<String> { None }
    /// # async fn serve(acting_as: ActingAs) {
    /// loop {
    ///     tokio::select! {
    ///         reason = acting_as.ended() => return println!("over: {reason}"),
    ///         message = receive() => match message {
    ///             Some(message) => println!("{message}"),
    ///             None => return,
    ///         },
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops the waiting.
    pub async fn ended(&self) -> EndedReason {
        match &self.0.session {
            Some((_, live)) => live.until_ended(&*self.0.clock).await,
            None => std::future::pending().await,
        }
    }

    /// Why the session ended, if it has by now and this process knows.
    pub(crate) fn has_ended(&self) -> Option<EndedReason> {
        self.live()?.ended_by_now(&*self.0.clock)
    }

    pub(crate) fn live(&self) -> Option<&Live> {
        self.0.session.as_ref().map(|(_, live)| &**live)
    }
}

impl fmt::Debug for ActingAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActingAs")
            .field("actor", &self.0.actor)
            .field("subject", &self.0.subject)
            .field("access", &self.0.access)
            .finish_non_exhaustive()
    }
}
