//! Users: the target of a session, and those whom a search finds.

use serde::Serialize;
use tower_impersonation::{DirectoryUser, People, SessionWithUser, UserId};
use utoipa::ToSchema;

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "User", examples(json!({"id": "ines", "email": "ines@shop.example", "role": "customer"})))]
pub(in crate::control) struct UserView {
    #[schema(value_type = String)]
    id: UserId,
    #[schema(required)]
    email: Option<String>,
    #[schema(required)]
    role: Option<String>,
}

/// A user in a search.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    title = "Person",
    examples(json!({"id": "ines", "email": "ines@shop.example", "role": "customer", "display_name": "Ines"}))
)]
pub(in crate::control) struct PersonView {
    #[schema(value_type = String)]
    id: UserId,
    #[schema(required)]
    email: Option<String>,
    #[schema(required)]
    role: Option<String>,
    #[schema(required)]
    display_name: Option<String>,
}

/// The answer of a search for users.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Users")]
pub(in crate::control) struct UsersPage {
    users: Vec<PersonView>,
    /// The `offset` of the next page; null on the last one.
    #[schema(required)]
    next_offset: Option<usize>,
}

// === impl UserView ===

impl UserView {
    fn new(user: &DirectoryUser) -> Self {
        Self {
            id: user.id().clone(),
            email: user.login().map(str::to_owned),
            role: user.role().map(str::to_owned),
        }
    }

    /// The target of a session; without a directory all that is known is the id.
    pub(super) fn of(session: &SessionWithUser) -> Option<Self> {
        match &session.user {
            Some(user) => Some(Self::new(user)),
            None => session.session.subject.user_id().map(|id| Self {
                id: id.clone(),
                email: None,
                role: None,
            }),
        }
    }
}

// === impl UsersPage ===

impl UsersPage {
    pub(in crate::control) fn new(people: &People) -> Self {
        let view = |user: &DirectoryUser| PersonView {
            id: user.id().clone(),
            email: user.login().map(str::to_owned),
            role: user.role().map(str::to_owned),
            display_name: user.display_name().map(str::to_owned),
        };
        Self {
            users: people.users.iter().map(view).collect(),
            next_offset: people.next,
        }
    }
}
