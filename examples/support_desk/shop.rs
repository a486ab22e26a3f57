//! The shop itself: users and orders, in memory. It knows nothing of the web and nothing of impersonation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use time::{Duration, OffsetDateTime};

/// What the shop sells; orders may name other things.
pub(crate) const GOODS: &[(&str, &str)] = &[
    ("Cast-iron teapot, 0.9 l", "Keeps a whole afternoon warm."),
    (
        "Darjeeling first flush, 100 g",
        "Picked in March, light and flowery.",
    ),
    ("Stoneware cup, speckled", "Turned by hand, no two alike."),
    ("Bamboo whisk", "Eighty tines, for matcha without lumps."),
    (
        "Linen tea towel, striped",
        "Dries without fluff, and looks well on a hook.",
    ),
];

/// The longest name of an item, in characters.
pub(crate) const MAX_ITEM: usize = 200;

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct Shop(Arc<Mutex<State>>);

struct State {
    users: BTreeMap<String, User>,
    orders: Vec<Order>,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) role: Role,
    /// Leads the support team, and so may see what the others do.
    pub(crate) leads: bool,
    /// Has said no to support looking at the account.
    pub(crate) opted_out: bool,
    pub(crate) password_changed_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Superadmin,
    Admin,
    Support,
    Customer,
    /// An account that no person signs in to.
    System,
}

#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) user: String,
    pub(crate) item: String,
    pub(crate) placed_at: OffsetDateTime,
}

/// An order that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadItem;

// === impl Shop ===

impl Shop {
    /// The shop as it stands when it opens.
    pub(crate) fn seeded() -> Self {
        let people = [
            ("root", "Ruth Okafor", Role::Superadmin),
            ("ada", "Ada Lindqvist", Role::Admin),
            ("abe", "Abe Sorensen", Role::Admin),
            ("sam", "Sam Whitlock", Role::Support),
            ("ines", "Ines Ortega", Role::Customer),
            ("otto", "Otto Brandt", Role::Customer),
            ("mia", "Mia Rossi", Role::Customer),
            ("kim", "Kim Nguyen", Role::Customer),
            ("bot", "Restock bot", Role::System),
        ];
        let users = people.map(|(id, name, role)| {
            let user = User {
                id: id.to_owned(),
                name: name.to_owned(),
                email: format!("{id}@shop.example"),
                role,
                leads: id == "ada",
                opted_out: id == "kim",
                password_changed_at: None,
            };
            (id.to_owned(), user)
        });
        let shop = Self(Arc::new(Mutex::new(State {
            users: users.into(),
            orders: Vec::new(),
        })));
        let past = [
            ("ines", 0, 33),
            ("otto", 2, 26),
            ("kim", 4, 19),
            ("ines", 1, 12),
            ("mia", 3, 5),
        ];
        for (user, item, days_ago) in past {
            let placed_at = OffsetDateTime::now_utc() - Duration::days(days_ago);
            shop.lock().add(user, GOODS[item].0, placed_at);
        }
        shop
    }

    pub(crate) fn user(&self, id: &str) -> Option<User> {
        self.lock().users.get(id).cloned()
    }

    /// By id or by e-mail address, as people type it.
    pub(crate) fn user_by_login(&self, login: &str) -> Option<User> {
        let login = login.trim();
        let state = self.lock();
        let is_it = |user: &&User| user.id == login || user.email.eq_ignore_ascii_case(login);
        state.users.values().find(is_it).cloned()
    }

    /// Everyone, those with more to say first.
    pub(crate) fn users(&self) -> Vec<User> {
        let mut users: Vec<_> = self.lock().users.values().cloned().collect();
        users.sort_by(|a, b| {
            let key = |user: &User| (u32::MAX - user.role.rank(), user.role == Role::System);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        users
    }

    /// Gives a user another role. `None` when there is no such user.
    pub(crate) fn change_role(&self, id: &str, role: Role) -> Option<User> {
        let mut state = self.lock();
        let user = state.users.get_mut(id)?;
        user.role = role;
        Some(user.clone())
    }

    pub(crate) fn delete_user(&self, id: &str) -> Option<User> {
        self.lock().users.remove(id)
    }

    pub(crate) fn change_password(&self, id: &str) -> Option<User> {
        let mut state = self.lock();
        let user = state.users.get_mut(id)?;
        user.password_changed_at = Some(OffsetDateTime::now_utc());
        Some(user.clone())
    }

    /// The orders of one user, newest first; of all for `None`.
    pub(crate) fn orders(&self, of: Option<&str>) -> Vec<Order> {
        let state = self.lock();
        let newest_first = state.orders.iter().rev();
        let wanted = newest_first.filter(|order| of.is_none_or(|user| order.user == user));
        wanted.cloned().collect()
    }

    pub(crate) fn order(&self, user: &str, item: &str) -> Result<Order, BadItem> {
        let item = item.trim();
        if item.is_empty() || item.chars().count() > MAX_ITEM {
            return Err(BadItem);
        }
        Ok(self.lock().add(user, item, OffsetDateTime::now_utc()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, user: &str, item: &str, placed_at: OffsetDateTime) -> Order {
        let order = Order {
            id: 1001 + self.orders.len() as u64,
            user: user.to_owned(),
            item: item.to_owned(),
            placed_at,
        };
        self.orders.push(order.clone());
        order
    }
}

// === impl Role ===

impl Role {
    /// The roles that a person can be given.
    pub(crate) const GIVEN: [Self; 4] =
        [Self::Superadmin, Self::Admin, Self::Support, Self::Customer];

    pub(crate) fn rank(self) -> u32 {
        match self {
            Self::Superadmin => 30,
            Self::Admin => 20,
            Self::Support => 10,
            Self::Customer | Self::System => 0,
        }
    }

    pub(crate) fn is_staff(self) -> bool {
        self.rank() > 0
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Superadmin => "superadmin",
            Self::Admin => "admin",
            Self::Support => "support",
            Self::Customer => "customer",
            Self::System => "system",
        }
    }

    pub(crate) fn given(name: &str) -> Option<Self> {
        Self::GIVEN.into_iter().find(|role| role.as_str() == name)
    }
}
