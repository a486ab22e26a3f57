//! What the trail wants to know of the client: address, user agent, request id, route (rules R18, A6).

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header::USER_AGENT, request::Parts};

use crate::{
    acting_as::ActingAs,
    audit::{AuditEvent, RequestFacts, cut_header, cut_path},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

type AddressOf = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;
type RouteOf = dyn Fn(&Parts) -> Option<Arc<str>> + Send + Sync;

/// How the host tells.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) address: Option<Arc<AddressOf>>,
    pub(crate) proxies: Option<NonZeroUsize>,
    pub(crate) route: Option<Arc<RouteOf>>,
}

impl Client {
    /// Where the request came from.
    pub(crate) fn address_of(&self, parts: &Parts) -> Option<IpAddr> {
        if let Some(address) = &self.address {
            return address(parts);
        }
        match self.proxies {
            Some(proxies) => forwarded(&parts.headers, proxies),
            None => peer(parts),
        }
    }

    fn route_of(&self, parts: &Parts) -> Option<Arc<str>> {
        match &self.route {
            Some(route) => route(parts),
            None => matched(parts),
        }
    }

    /// What the trail keeps of an acted request.
    pub(crate) fn facts(
        &self,
        parts: &Parts,
        acting_as: ActingAs,
        at: time::OffsetDateTime,
    ) -> RequestFacts {
        RequestFacts {
            acting_as,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            route: self.route_of(parts),
            address: self.address_of(parts),
            user_agent: parts.headers.get(USER_AGENT).cloned(),
            request_id: parts.headers.get(X_REQUEST_ID).cloned(),
            at,
        }
    }

    /// Adds what is known of a request that was not acted: a refusal, a start, an end.
    pub(crate) fn describe(&self, event: &mut AuditEvent, parts: &Parts) {
        event.method = Some(parts.method.as_str().to_owned());
        event.path = Some(cut_path(parts.uri.path()).to_owned());
        event.address = self.address_of(parts);
        event.user_agent = parts.headers.get(USER_AGENT).map(cut_header);
        event.request_id = parts.headers.get(X_REQUEST_ID).map(cut_header);
    }
}

/// What the request came with, for the session's record.
pub(crate) fn user_agent(parts: &Parts) -> Option<Arc<str>> {
    parts.headers.get(USER_AGENT).map(cut_header).map(Arc::from)
}

/// The entry that the outermost of our proxies wrote. Entries left of it are the client's own claims.
fn forwarded(headers: &HeaderMap, proxies: NonZeroUsize) -> Option<IpAddr> {
    let entries: Vec<&str> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value: &HeaderValue| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let ours = entries.len().checked_sub(proxies.get())?;
    entries.get(ours)?.trim().parse().ok()
}

#[cfg(feature = "axum")]
fn peer(parts: &Parts) -> Option<IpAddr> {
    type Peer = axum::extract::ConnectInfo<std::net::SocketAddr>;
    parts.extensions.get::<Peer>().map(|peer| peer.0.ip())
}

#[cfg(not(feature = "axum"))]
fn peer(_: &Parts) -> Option<IpAddr> {
    None
}

#[cfg(feature = "axum")]
fn matched(parts: &Parts) -> Option<Arc<str>> {
    let matched = parts.extensions.get::<axum::extract::MatchedPath>()?;
    Some(Arc::from(matched.as_str()))
}

#[cfg(not(feature = "axum"))]
fn matched(_: &Parts) -> Option<Arc<str>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r18_forwarded_addresses_count_from_the_right() {
        struct Test {
            proxies: usize,
            headers: &'static [&'static str],
            address: Option<&'static str>,
        }
        let tests = [
            Test {
                proxies: 1,
                headers: &["1.1.1.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 1,
                headers: &["6.6.6.6, 1.1.1.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 2,
                headers: &["6.6.6.6, 1.1.1.1, 10.0.0.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 2,
                headers: &["6.6.6.6", "1.1.1.1, 10.0.0.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 2,
                headers: &["1.1.1.1"],
                address: None,
            },
            Test {
                proxies: 1,
                headers: &["no address"],
                address: None,
            },
            Test {
                proxies: 1,
                headers: &[],
                address: None,
            },
        ];
        for test in tests {
            let mut headers = HeaderMap::new();
            for value in test.headers {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_static(value));
            }
            let proxies = NonZeroUsize::new(test.proxies).unwrap();
            let expected = test.address.map(|address| address.parse().unwrap());
            assert_eq!(forwarded(&headers, proxies), expected, "{:?}", test.headers);
        }
    }
}
