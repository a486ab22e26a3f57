//! What a web framework around us knows of a request besides its parts: the one place that differs with feature `axum`.

use std::{net::IpAddr, sync::Arc};

use http::{Extensions, Uri};

/// What axum keeps in a request's extensions.
#[cfg(feature = "axum")]
mod axum {
    use super::{Arc, Extensions, IpAddr, Uri};
    use ::axum::extract::{ConnectInfo, MatchedPath, OriginalUri};

    pub(super) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
        extensions.get().map(|OriginalUri(uri)| uri)
    }

    pub(super) fn original_uri_mut(extensions: &mut Extensions) -> Option<&mut Uri> {
        extensions.get_mut().map(|OriginalUri(uri)| uri)
    }

    pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
        type Peer = ConnectInfo<std::net::SocketAddr>;
        extensions.get::<Peer>().map(|peer| peer.0.ip())
    }

    pub(super) fn matched_route(extensions: &Extensions) -> Option<Arc<str>> {
        let matched = extensions.get::<MatchedPath>()?;
        Some(Arc::from(matched.as_str()))
    }
}

/// Without a framework nobody knows more.
#[cfg(not(feature = "axum"))]
mod axum {
    use super::{Arc, Extensions, IpAddr, Uri};

    pub(super) fn original_uri(_: &Extensions) -> Option<&Uri> {
        None
    }

    pub(super) fn original_uri_mut(_: &mut Extensions) -> Option<&mut Uri> {
        None
    }

    pub(super) fn peer(_: &Extensions) -> Option<IpAddr> {
        None
    }

    pub(super) fn matched_route(_: &Extensions) -> Option<Arc<str>> {
        None
    }
}

/// The URI as the client sent it, where a router has taken a prefix off since.
pub(crate) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    axum::original_uri(extensions)
}

/// The same, to take a marker out of it.
pub(crate) fn original_uri_mut(extensions: &mut Extensions) -> Option<&mut Uri> {
    axum::original_uri_mut(extensions)
}

/// The other end of the connection.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    axum::peer(extensions)
}

/// The route that was found for the request, such as `/orders/{id}`.
pub(crate) fn matched_route(extensions: &Extensions) -> Option<Arc<str>> {
    axum::matched_route(extensions)
}
