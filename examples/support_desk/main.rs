//! The support desk of a small shop: what impersonation looks like in a whole application.
//!
//! Run it with `cargo run --example support_desk --all-features`, open the page that it prints, and sign in
//! as Ada. Users, orders, sessions and the trail are in the database of `DATABASE_URL`: a file of SQLite unless it
//! says otherwise. Sign-ins live in memory.
//!
//! | file | knows |
//! | --- | --- |
//! | `database.rs` | where everything is kept |
//! | `shop.rs` | users and orders; nothing of the web, nothing of impersonation |
//! | `auth.rs` | who is signed in; of impersonation, that signing out ends it and that its tokens are not ours |
//! | `api.rs`, `pages.rs`, `templates` | the shop's own calls and pages, written as if nobody ever acted as anyone |
//! | `impersonation.rs` | the wiring: who is staff, whom they may act as, what the shop sees then |
//!
//! The support desk itself, under `/admin`, is the console of `tower-impersonation-web`, and so is the banner on acted pages.
//!
//! Order of the layers, from the outside: authentication, impersonation, the banner, the router. The address of the
//! client is that of its connection; no forwarded header is trusted.
#![expect(
    clippy::disallowed_methods,
    reason = "a program, unlike the library, may read the system's clock where it needs it"
)]

mod api;
mod auth;
mod database;
mod dates;
mod impersonation;
mod pages;
mod settings;
mod shop;

use std::{
    future::IntoFuture as _,
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router, ServiceExt,
    extract::{FromRef, Request},
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post, put},
};
use tokio::net::TcpListener;
use tower::Layer as _;
use tower_http::csrf::CsrfLayer;
use tower_impersonation::{BoxError, Impersonation, audit::JsonLines};
use tower_impersonation_sqlx::SqlRoles;
use tower_impersonation_web::{console, control, page};

use self::{auth::SignIns, database::Database, settings::Settings, shop::Shop};

/// How long requests that are under way may take to finish once the process is told to stop.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the handlers share; each takes the part that it needs.
#[derive(Clone)]
struct Desk {
    shop: Shop,
    sign_ins: SignIns,
    roles: SqlRoles,
    impersonation: Impersonation,
    control_path: Arc<str>,
}

impl FromRef<Desk> for Shop {
    fn from_ref(desk: &Desk) -> Self {
        desk.shop.clone()
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    // The feature of each cryptographic backend may be on, and then the choice is the program's.
    if jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER
        .install_default()
        .is_err()
    {
        return refuse("there is another cryptographic backend already");
    }
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(problem) => return refuse(&problem.to_string()),
    };
    // The log goes beside the one line on standard output that scripts wait for.
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();

    let file = match JsonLines::open(&settings.audit_file) {
        Ok(file) => file,
        Err(error) => {
            let path = settings.audit_file.display();
            return refuse(&format!("AUDIT_FILE: cannot write `{path}`: {error}"));
        }
    };
    let listener = match TcpListener::bind(settings.addr).await {
        Ok(listener) => listener,
        Err(error) => {
            let addr = settings.addr;
            return refuse(&format!("ADDR: cannot listen on {addr}: {error}"));
        }
    };
    let database = match Database::open(&settings.database_url).await {
        Ok(database) => database,
        Err(error) => return refuse(&format!("DATABASE_URL: cannot be used: {error}")),
    };
    match run(&settings, listener, database, file).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("support_desk: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Nothing was started, because a setting cannot work.
fn refuse(problem: &str) -> ExitCode {
    eprintln!("support_desk: {problem}");
    ExitCode::from(2)
}

async fn run(
    settings: &Settings,
    listener: TcpListener,
    database: Database,
    file: JsonLines,
) -> Result<(), BoxError> {
    let shop = Shop::new(database.clone());
    open_again_on_hangup(file.clone())?;
    let desk = Desk {
        impersonation: impersonation::set_up(settings, &shop, &database, file)?,
        control_path: settings.control_path.as_str().into(),
        sign_ins: SignIns::default(),
        roles: database.roles(),
        shop,
    };
    // A role that is taken away, here or by whoever else writes to the database, ends its sessions at once.
    let watch = desk.roles.watch(&desk.impersonation);
    let pages = page(&desk.impersonation).layer(router(&desk));
    let acted = desk.impersonation.layer().layer(pages);
    let app = from_fn_with_state(desk.clone(), auth::sign_in).layer(acted);
    let app = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app);

    let stop = Arc::new(tokio::sync::Notify::new());
    let stopped = stop.clone();
    let addr = listener.local_addr()?;
    let serving = axum::serve(listener, app)
        .with_graceful_shutdown(async move { stopped.notified().await })
        .into_future();
    let mut serving = tokio::spawn(serving);
    let told = told_to_stop()?;
    writeln!(io::stdout(), "listening on http://{addr}")?;
    io::stdout().flush()?;

    tokio::select! {
        ended = &mut serving => ended??,
        () = told => {
            stop.notify_one();
            if tokio::time::timeout(PATIENCE, &mut serving).await.is_err() {
                tracing::warn!("some requests did not finish in time");
                serving.abort();
            }
        }
    }
    // Sessions go on: this process may be one of several, and after a restart it is there again.
    drop(watch);
    match tokio::time::timeout(PATIENCE, desk.impersonation.flush()).await {
        Ok(flushed) => flushed?,
        Err(_) => {
            tracing::error!("the database did not store every end in time");
            desk.impersonation.trail().flush().await?;
        }
    }
    database.close().await;
    Ok(())
}

/// Opens the trail's file again on SIGHUP, as log rotation asks for it. It would notice by itself before the next line;
/// so the new file is there even if nothing happens.
fn open_again_on_hangup(file: JsonLines) -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangups = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                if let Err(error) = file.reopen().await {
                    tracing::error!(%error, "the trail's file cannot be opened again");
                }
            }
        });
    }
    #[cfg(not(unix))]
    drop(file);
    Ok(())
}

/// Ready when the process is asked to stop, by Ctrl-C or by whatever runs it.
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    // Registered now, so that a signal that comes early is not lost.
    #[cfg(unix)]
    let mut terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}

fn router(desk: &Desk) -> Router {
    Router::new()
        .route("/", get(pages::home).post(pages::order))
        .route("/shop", get(pages::goods))
        .route("/orders/{id}", get(pages::one_order))
        .route("/login", get(pages::sign_in).post(auth::login))
        .route("/logout", post(auth::logout))
        .route(
            "/account/password",
            get(pages::password).post(pages::change_password),
        )
        .route("/api/me", get(api::me))
        .route("/api/orders", get(api::orders).post(api::order))
        .route("/api/orders/live", get(api::live_orders))
        .route(
            "/demo/users/{id}",
            put(api::change_role).delete(api::delete_user),
        )
        .route("/desk.css", get(pages::stylesheet))
        .route("/desk.js", get(pages::script))
        .fallback(pages::not_found)
        .layer(CsrfLayer::new().with_rejection_response(api::cross_site))
        .layer(axum::middleware::map_response(pages::guarded))
        .with_state(desk.clone())
        .nest(&desk.control_path, control(&desk.impersonation))
        .nest(
            "/admin",
            console(&desk.impersonation).layer(from_fn(auth::ask_to_sign_in)),
        )
}
