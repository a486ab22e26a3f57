//! The shop itself: users and orders. It knows nothing of the web and nothing of impersonation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sqlx::{query, query_as};
use time::OffsetDateTime;
use tokio::sync::broadcast;

use crate::database::Database;

/// Name, what there is to say of it, price.
pub(crate) type Good = (&'static str, &'static str, &'static str);

/// What the shop sells; orders may name other things.
pub(crate) const GOODS: &[Good] = &[
    (
        "Cast-iron teapot, 0.9 l",
        "Keeps a whole afternoon warm.",
        "€ 84",
    ),
    (
        "Darjeeling first flush, 100 g",
        "Picked in March, light and flowery.",
        "€ 19",
    ),
    (
        "Stoneware cup, speckled",
        "Turned by hand, no two alike.",
        "€ 26",
    ),
    (
        "Bamboo whisk",
        "Eighty tines, for matcha without lumps.",
        "€ 17",
    ),
    (
        "Linen tea towel, striped",
        "Dries without fluff, and looks well on a hook.",
        "€ 14",
    ),
];

/// Orders that may wait for a slow listener.
const MOST_WAITING: usize = 64;

/// The longest name of an item, in characters.
pub(crate) const MAX_ITEM: usize = 200;

/// What [`User`] is made of. Who is on the staff has their role there, everyone else in the shop's own table.
macro_rules! select_users {
    ($which:literal) => {
        concat!(
            "select id, name, email, coalesce(staff.role, users.role), leads, opted_out, password_changed_at \
             from users left join staff on staff.user_id = users.id ",
            $which
        )
    };
}

/// What a user is, as the rows say it.
type UserRow = (String, String, String, String, bool, bool, Option<i64>);
type OrderRow = (i64, String, String, i64);

/// Runs one query on whichever database it is; both understand the same SQL here.
macro_rules! each {
    ($shop:expr, $pool:ident => $query:expr) => {
        match &$shop.database {
            Database::Sqlite($pool) => $query,
            Database::Postgres($pool) => $query,
        }
    };
}

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct Shop {
    database: Database,
    /// Everyone who was looked up, as they were then.
    known: Arc<Mutex<HashMap<String, User>>>,
    /// What this process has taken, for pages that show it at once.
    placed: broadcast::Sender<Order>,
}

/// The shop's database gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("the shop’s database gave no answer")]
pub(crate) struct Closed(#[from] sqlx::Error);

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
    pub(crate) id: i64,
    pub(crate) user: String,
    pub(crate) item: String,
    pub(crate) placed_at: OffsetDateTime,
}

/// Why an order was not taken.
#[derive(Debug)]
pub(crate) enum NotOrdered {
    BadItem,
    Closed(Closed),
}

// === impl Shop ===

impl Shop {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            known: Arc::default(),
            placed: broadcast::Sender::new(MOST_WAITING),
        }
    }

    /// As the database has it now, whichever process changed it.
    pub(crate) async fn user(&self, id: &str) -> Result<Option<User>, Closed> {
        if id.contains('\0') {
            return Ok(None); // PostgreSQL cannot even be asked
        }
        let sql = select_users!("where id = $1");
        let row: Option<UserRow> =
            each!(self, pool => query_as(sql).bind(id).fetch_optional(pool).await)?;
        let user = row.map(User::from);
        match &user {
            Some(user) => self.known().insert(id.to_owned(), user.clone()),
            None => self.known().remove(id),
        };
        Ok(user)
    }

    /// The same, or while the database gives no answer, as it was last seen: enough to greet someone, not to
    /// decide what they may do.
    pub(crate) async fn user_if_known(&self, id: &str) -> Result<Option<User>, Closed> {
        match self.user(id).await {
            Err(closed) => self.known().get(id).cloned().map(Some).ok_or(closed),
            user => user,
        }
    }

    /// By id or by e-mail address, as people type it.
    pub(crate) async fn user_by_login(&self, login: &str) -> Result<Option<User>, Closed> {
        let login = login.trim();
        if login.contains('\0') {
            return Ok(None);
        }
        let sql = select_users!("where id = $1 or lower(email) = lower($1)");
        let row: Option<UserRow> =
            each!(self, pool => query_as(sql).bind(login).fetch_optional(pool).await)?;
        Ok(row.map(User::from))
    }

    /// Everyone, those with more to say first.
    pub(crate) async fn users(&self) -> Result<Vec<User>, Closed> {
        let sql = select_users!("");
        let rows: Vec<UserRow> = each!(self, pool => query_as(sql).fetch_all(pool).await)?;
        let mut users: Vec<_> = rows.into_iter().map(User::from).collect();
        users.sort_by(|a, b| {
            let key = |user: &User| (u32::MAX - user.role.rank(), user.role == Role::System);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        Ok(users)
    }

    /// Who it was.
    pub(crate) async fn delete_user(&self, id: &str) -> Result<Option<User>, Closed> {
        let user = self.user(id).await?;
        let sql = "delete from users where id = $1";
        each!(self, pool => query(sql).bind(id).execute(pool).await.map(drop))?;
        self.known().remove(id);
        Ok(user)
    }

    pub(crate) async fn change_password(&self, id: &str) -> Result<Option<User>, Closed> {
        let sql = "update users set password_changed_at = $2 where id = $1";
        let now = micros(OffsetDateTime::now_utc());
        each!(self, pool => query(sql).bind(id).bind(now).execute(pool).await.map(drop))?;
        self.user(id).await
    }

    /// The orders of one user, newest first; of all for `None`. Those whose item or number has `q` in it.
    pub(crate) async fn orders(&self, of: Option<&str>, q: &str) -> Result<Vec<Order>, Closed> {
        if q.contains('\0') {
            return Ok(Vec::new()); // as above
        }
        let sql = match of {
            Some(_) => {
                "select id, user_id, item, placed_at from orders where user_id = $1 order by id desc"
            }
            None => {
                "select id, user_id, item, placed_at from orders where $1 is null order by id desc"
            }
        };
        let rows: Vec<OrderRow> =
            each!(self, pool => query_as(sql).bind(of).fetch_all(pool).await)?;
        let q = q.to_lowercase();
        let has_it = |order: &Order| {
            order.item.to_lowercase().contains(&q) || order.id.to_string().contains(&q)
        };
        Ok(rows.into_iter().map(Order::from).filter(has_it).collect())
    }

    /// One order, if it is this user's; anyone's for `None`.
    pub(crate) async fn order_of(
        &self,
        of: Option<&str>,
        id: i64,
    ) -> Result<Option<Order>, Closed> {
        let sql = "select id, user_id, item, placed_at from orders where id = $1";
        let row: Option<OrderRow> =
            each!(self, pool => query_as(sql).bind(id).fetch_optional(pool).await)?;
        let is_theirs = |order: &Order| of.is_none_or(|of| of == order.user);
        Ok(row.map(Order::from).filter(is_theirs))
    }

    /// Hears of every order that this process takes from now on.
    pub(crate) fn placed(&self) -> broadcast::Receiver<Order> {
        self.placed.subscribe()
    }

    pub(crate) async fn order(&self, user: &str, item: &str) -> Result<Order, NotOrdered> {
        let item = item.trim();
        // Not every database can keep a zero byte.
        if item.is_empty() || item.chars().count() > MAX_ITEM || item.contains('\0') {
            return Err(NotOrdered::BadItem);
        }
        let sql = "insert into orders (user_id, item, placed_at) values ($1, $2, $3) \
                   returning id, user_id, item, placed_at";
        let now = micros(OffsetDateTime::now_utc());
        let row: Result<OrderRow, _> = each!(self, pool => {
            query_as(sql).bind(user).bind(item).bind(now).fetch_one(pool).await
        });
        let order = Order::from(row.map_err(|error| NotOrdered::Closed(error.into()))?);
        // An error means that nobody listens.
        let _ = self.placed.send(order.clone());
        Ok(order)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, User>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl User, Order ===

impl From<UserRow> for User {
    fn from((id, name, email, role, leads, opted_out, password_changed_at): UserRow) -> Self {
        Self {
            id,
            name,
            email,
            role: Role::named(&role),
            leads,
            opted_out,
            password_changed_at: password_changed_at.map(time),
        }
    }
}

impl From<OrderRow> for Order {
    fn from((id, user, item, placed_at): OrderRow) -> Self {
        Self {
            id,
            user,
            item,
            placed_at: time(placed_at),
        }
    }
}

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
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

    /// Whatever is in the table and is none of these may do nothing.
    fn named(name: &str) -> Self {
        Self::given(name).unwrap_or(Self::System)
    }

    pub(crate) fn given(name: &str) -> Option<Self> {
        Self::GIVEN.into_iter().find(|role| role.as_str() == name)
    }
}
