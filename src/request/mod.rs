//! Pure readings of a request: the marker, what a browser says by itself, the client. Nothing here waits or decides.

mod browser;
mod client;
mod framework;
mod marker;
mod names;

pub(crate) use self::{
    browser::{
        SEC_FETCH_DEST, SEC_FETCH_MODE, SEC_FETCH_SITE, accepts, can_be_sent_again, is_ahead,
        is_cross_site, is_navigation, is_only, may_be_seen, own_pages, uri_as_called,
    },
    client::{Client, X_REQUEST_ID},
    marker::{Fault, Marker, Sources},
    names::{RESERVED, RESERVED_PREFIXES, TOKEN_HEADERS, is_of_family},
};
