//! What the trail wants to know of the client: address, user agent, request id, route (rules [R18](crate::rules#r18),
//! [A6](crate::rules#a6)).

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header::USER_AGENT, request::Parts};

use super::framework::{matched_route, peer};
use crate::words::cut_header;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
            None => peer(&parts.extensions),
        }
    }

    pub(crate) fn route_of(&self, parts: &Parts) -> Option<Arc<str>> {
        match &self.route {
            Some(route) => route(parts),
            None => matched_route(&parts.extensions),
        }
    }

    /// What the request came with, as much of it as is stored.
    pub(crate) fn user_agent(parts: &Parts) -> Option<Arc<str>> {
        parts.headers.get(USER_AGENT).map(cut_header).map(Arc::from)
    }
}

/// The entry that the outermost of our proxies wrote. Entries left of it are the client's own claims.
fn forwarded(headers: &HeaderMap, proxies: NonZeroUsize) -> Option<IpAddr> {
    // As bytes: what a client wrote into its own claims must not hide the entry that is ours.
    let entries: Vec<&[u8]> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value: &HeaderValue| value.as_bytes().split(|byte| *byte == b','))
        .collect();
    let ours = entries.len().checked_sub(proxies.get())?;
    let ours = std::str::from_utf8(entries.get(ours)?).ok()?;
    ours.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r18_forwarded_addresses_count_from_the_right() {
        struct Test {
            proxies: usize,
            headers: &'static [&'static [u8]],
            address: Option<&'static str>,
        }
        let tests = [
            Test {
                proxies: 1,
                headers: &[b"1.1.1.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 1,
                headers: &[b"6.6.6.6, 1.1.1.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 2,
                headers: &[b"6.6.6.6, 1.1.1.1, 10.0.0.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 2,
                headers: &[b"6.6.6.6", b"1.1.1.1, 10.0.0.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 2,
                headers: &[b"1.1.1.1"],
                address: None,
            },
            Test {
                proxies: 1,
                headers: &[b"no address"],
                address: None,
            },
            Test {
                proxies: 1,
                headers: &[],
                address: None,
            },
            // A client's own claim erases nothing, whatever bytes it is made of.
            Test {
                proxies: 1,
                headers: &[b"caf\xe9, 1.1.1.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 2,
                headers: &[b"\xff", b"6.6.6.6\xff,1.1.1.1", b"10.0.0.1"],
                address: Some("1.1.1.1"),
            },
            Test {
                proxies: 1,
                headers: &[b"6.6.6.6, 1.1.1.1\xff"],
                address: None,
            },
        ];
        for test in tests {
            let mut headers = HeaderMap::new();
            for value in test.headers {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(value).unwrap());
            }
            let proxies = NonZeroUsize::new(test.proxies).unwrap();
            let expected = test.address.map(|address| address.parse().unwrap());
            assert_eq!(forwarded(&headers, proxies), expected, "{:?}", test.headers);
        }
    }
}
