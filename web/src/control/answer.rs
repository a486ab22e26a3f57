//! How a call is answered: JSON, or for a person with a form 303; refusals as the host wants them.

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{LOCATION, SET_COOKIE},
};
use serde::Serialize;
use tower_impersonation::{Impersonation, Rejection};

use super::call::Call;

pub(super) type Cookies = Vec<HeaderValue>;

/// What a call with a next page has to say.
pub(super) struct Answer<T> {
    pub(super) json: T,
    /// Where a person with a browser goes.
    pub(super) next: String,
    pub(super) cookies: Cookies,
}

pub(crate) fn add_cookies(response: &mut Response, cookies: Cookies) {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

impl Call {
    /// JSON, or for a form 303 to where the person goes next.
    pub(super) fn answer<T: Serialize>(
        &self,
        impersonation: &Impersonation,
        answer: Result<Answer<T>, Rejection>,
    ) -> Response {
        let Answer {
            json,
            next,
            cookies,
        } = match answer {
            Ok(answer) => answer,
            Err(rejection) => return self.refuse(impersonation, rejection),
        };
        let mut response = if self.wants_page() {
            let location = HeaderValue::try_from(next);
            let location = location.unwrap_or_else(|_| HeaderValue::from_static("/"));
            (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
        } else {
            Json(json).into_response()
        };
        add_cookies(&mut response, cookies);
        response
    }

    pub(super) fn plain<T: Serialize>(
        &self,
        impersonation: &Impersonation,
        answer: Result<T, Rejection>,
    ) -> Response {
        match answer {
            Ok(answer) => Json(answer).into_response(),
            Err(rejection) => self.refuse(impersonation, rejection),
        }
    }

    pub(super) fn refuse(&self, impersonation: &Impersonation, rejection: Rejection) -> Response {
        let response = impersonation.response_of(rejection, &self.parts);
        response.map(Body::from)
    }
}
