//! What calls do with sessions. The console does the same with its forms.

use std::sync::Arc;

use axum::body::Body;
use tower_impersonation::{
    Credentials, Impersonation, Rejection, RejectionKind, SessionWithUser, Subject,
    session::Session,
};

use super::{
    answer::{Answer, Cookies},
    call::Call,
    redirect,
    wire::{
        ChangeFields, Ended, Fields, NoUserFields, OneSession, SessionQuery, SessionsPage,
        StartAnswer, StopFields, TokenAnswer, TokenFields, UsersPage, UsersQuery,
    },
};

/// A start that was carried through.
pub(crate) struct Begun {
    started: SessionWithUser,
    credentials: Credentials,
    /// Where a browser goes then, with the marker.
    pub(crate) landing: String,
}

impl Begun {
    pub(crate) fn take_cookies(&mut self) -> Cookies {
        std::mem::take(&mut self.credentials.cookies)
    }
}

impl Call {
    pub(super) async fn start(
        &self,
        impersonation: &Impersonation,
        body: Body,
        subject: Option<Subject>,
    ) -> Result<Answer<StartAnswer>, Rejection> {
        let mut begun = self.begin(impersonation, body, subject).await?;
        let cookies = begun.take_cookies();
        let now = impersonation.now()?;
        let (started, credentials) = (&begun.started, &begun.credentials);
        Ok(Answer {
            json: StartAnswer::new(started, credentials, now, begun.landing.clone()),
            next: begun.landing,
            cookies,
        })
    }

    /// The start that the body asks for, as `subject` or as the user whom it names.
    pub(crate) async fn begin(
        &self,
        impersonation: &Impersonation,
        body: Body,
        subject: Option<Subject>,
    ) -> Result<Begun, Rejection> {
        let fields = match subject {
            Some(_) => self.fields::<NoUserFields>(body).await.map(Fields::from),
            None => self.fields::<Fields>(body).await,
        };
        let asked = match (&subject, &fields) {
            (Some(subject), _) => Some(subject.clone()),
            (None, Ok(fields)) => fields.subject(),
            (None, Err(_)) => None,
        };
        // Callers who may not start anything learn nothing about fields.
        let admin = impersonation.admin_for(&self.parts, asked.as_ref()).await?;
        let read = fields.and_then(|fields| {
            let next = fields.next.clone();
            Ok((fields.into_start(subject)?, next))
        });
        let (request, next) = read.map_err(|problem| admin.invalid(asked.as_ref(), problem))?;
        let started = admin.start(request).await?;
        let credentials = impersonation.hand_out(&started).await?;
        let landing = next.as_deref().and_then(redirect::local);
        let landing = landing.unwrap_or(impersonation.places().after_start());
        let landing = impersonation.marked(landing, &started.session.subject);
        Ok(Begun {
            started,
            credentials,
            landing,
        })
    }

    pub(super) async fn stop(
        &self,
        impersonation: &Impersonation,
        body: Body,
    ) -> Result<Answer<Ended>, Rejection> {
        let fields = self.fields::<StopFields>(body).await;
        // Stop stops (rule S5): of a body that cannot be read this much is known, that its sender wants out.
        let session = fields.and_then(StopFields::session).unwrap_or_default();
        let stopped = match session {
            Some(id) => impersonation.stop_one(&self.parts, id).await,
            None => impersonation.stop(&self.parts).await,
        };
        let is_stored = match stopped {
            Ok(stopped) => stopped.is_stored,
            // The page is older than the end of its session. A person who wants out gets out.
            Err(rejection)
                if rejection.kind() == RejectionKind::NothingToEnd && self.wants_page() =>
            {
                true
            }
            Err(rejection) => return Err(rejection),
        };
        Ok(Answer {
            json: Ended::new(is_stored),
            next: impersonation.places().after_stop().to_owned(),
            cookies: Cookies::new(),
        })
    }

    pub(super) async fn change(
        &self,
        impersonation: &Impersonation,
        body: Body,
    ) -> Result<(OneSession, Cookies), Rejection> {
        let (changed, cookies) = self.alter(impersonation, body, None).await?;
        Ok((OneSession::new(&changed, impersonation.now()?), cookies))
    }

    /// The change that the body asks for: of one's session for `subject`, or of the newest one.
    pub(crate) async fn alter(
        &self,
        impersonation: &Impersonation,
        body: Body,
        subject: Option<Subject>,
    ) -> Result<(Arc<Session>, Cookies), Rejection> {
        let admin = impersonation.admin(&self.parts).await?;
        let fields = self.fields::<ChangeFields>(body).await;
        let asked = fields.and_then(ChangeFields::into_change);
        let asked = asked.map_err(|problem| admin.invalid(None, problem))?;
        let subject = match subject {
            Some(subject) => subject,
            None => match &admin.active(1).await?[..] {
                [newest, ..] => newest.subject.clone(),
                [] => {
                    let nothing = RejectionKind::NothingToEnd;
                    let nothing = Rejection::new(nothing, "no active session");
                    return Err(admin.refuse(None, nothing));
                }
            },
        };
        let changed = admin.change(&subject, asked).await?;
        // The cookie may live longer now.
        let cookies = impersonation.renewed_cookies(&changed)?;
        Ok((changed, cookies))
    }

    pub(super) async fn sessions(
        &self,
        impersonation: &Impersonation,
    ) -> Result<SessionsPage, Rejection> {
        let asked = self.query::<SessionQuery>()?.into_filter();
        let (filter, page) = asked.map_err(Rejection::invalid)?;
        let list = impersonation.list(&self.parts, filter, page).await?;
        Ok(SessionsPage::new(&list, impersonation.now()?))
    }

    pub(super) async fn users(
        &self,
        impersonation: &Impersonation,
    ) -> Result<UsersPage, Rejection> {
        let asked = self.query::<UsersQuery>()?.into_search();
        let (text, limit, offset) = asked.map_err(Rejection::invalid)?;
        let people = impersonation.people(&self.parts, &text, limit, offset);
        Ok(UsersPage::new(&people.await?))
    }

    pub(super) async fn token(
        &self,
        impersonation: &Impersonation,
        body: Body,
    ) -> Result<TokenAnswer, Rejection> {
        if !impersonation.has_tokens() {
            return Err(Rejection::new(RejectionKind::NotFound, "no tokens are set"));
        }
        let fields = self.fields::<TokenFields>(body).await;
        let token = fields
            .and_then(TokenFields::into_token)
            .map_err(Rejection::invalid)?;
        let refreshed = impersonation.refresh(&self.parts, &token).await?;
        TokenAnswer::new(refreshed)
            .ok_or_else(|| Rejection::new(RejectionKind::Unavailable, "no tokens were made"))
    }
}
