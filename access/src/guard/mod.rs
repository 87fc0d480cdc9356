//! What stands before every route.

mod body;
mod credentials;
mod headers;
mod host;
mod origin;
mod record;
mod trusted;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

pub use credentials::COOKIE;
pub(crate) use credentials::{TOKEN, session_cookie};
pub use record::Record;
pub use trusted::trusted;

use crate::access::Access;
use crate::error::{AccessError, Reason, refused};
use crate::identity::Identity;
use crate::role::{Need, Rule};

/// Names whoever asks to the routes behind the guard; whatever a browser sends there is dropped.
pub const OPERATOR: &str = "lifeboat-operator";
/// A request with this header was made by the page, not by a person: it keeps no session alive.
pub const BACKGROUND: &str = "lifeboat-background";

/// Larger bodies are refused, but where a route allows more.
const LARGEST_BODY: usize = 1 << 20;
/// A request of somebody unknown is over by then.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// As shown.
    pub address: String,
    /// As failures are counted: a whole network of IPv6 belongs to one host.
    pub origin: String,
    /// What the browser calls itself.
    pub agent: String,
    /// The person who uses root's socket, as their shell says.
    pub behalf: Option<String>,
}

#[derive(Clone)]
struct Guard {
    access: Access,
    /// By path, then by method.
    rules: Arc<HashMap<&'static str, HashMap<&'static str, Option<Need>>>>,
}

/// Puts the guard before a router: what no rule names is refused.
pub fn guard(router: Router, access: Access, rules: &'static [Rule]) -> Router {
    let mut table: HashMap<_, HashMap<_, _>> = HashMap::new();
    for rule in rules {
        let methods = table.entry(rule.path).or_default();
        methods.insert(rule.method, rule.need);
    }
    let guard = Guard {
        access,
        rules: Arc::new(table),
    };
    router
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(guard, stand_before))
}

async fn stand_before(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.answer(request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    headers::harden(response.headers_mut());
    response
}

impl Guard {
    async fn answer(&self, mut request: Request, next: Next) -> Result<Response, AccessError> {
        host::check(&request, &self.access.settings().names)?;
        let caller = Caller::of(&request);
        request.headers_mut().remove(OPERATOR);
        request.extensions_mut().insert(caller.clone());
        let rule = self.rule(&request);
        match rule {
            Some(None) => open(request, next).await,
            found => {
                origin::check(&request)?;
                let identity = credentials::identify(&self.access, request.headers()).await?;
                let need = found.flatten().ok_or_else(|| unlisted(&request))?;
                identity.satisfies(&need)?;
                through(request, next, identity, &caller).await
            }
        }
    }

    /// What is known of the route: nothing, that it is open, or what it needs.
    fn rule(&self, request: &Request) -> Option<Option<Need>> {
        let path = request.extensions().get::<MatchedPath>()?;
        let method = match request.method() {
            &Method::HEAD => "GET",
            method => method.as_str(),
        };
        self.rules.get(path.as_str())?.get(method).copied()
    }
}

fn unlisted(request: &Request) -> AccessError {
    match request.extensions().get::<MatchedPath>() {
        Some(_) => refused(Reason::NotAllowed, "nothing here is done by this method"),
        None => refused(Reason::NotFound, "there is nothing here"),
    }
}

/// A route for everybody: pages may link to it, but not change anything from elsewhere.
async fn open(request: Request, next: Next) -> Result<Response, AccessError> {
    if record::changes(&request) {
        origin::check(&request)?;
        body::check_kind(&request)?;
    }
    let answer = tokio::time::timeout(OPEN_LIMIT, next.run(request)).await;
    answer.map_err(|_| refused(Reason::Invalid, "the request took too long to arrive"))
}

/// A route for somebody.
async fn through(
    mut request: Request,
    next: Next,
    identity: Identity,
    caller: &Caller,
) -> Result<Response, AccessError> {
    if record::changes(&request) {
        origin::check_change(&request, &identity)?;
        body::check_kind(&request)?;
    }
    if let Ok(name) = identity.name().parse() {
        request.headers_mut().insert(OPERATOR, name);
    }
    // What follows must not see what the browser proved itself by.
    request.headers_mut().remove(header::AUTHORIZATION);
    let lapsed = identity.lapsed();
    let request = body::paced(request);
    let response = record::run(request, next, identity, caller).await?;
    Ok(match body::is_endless(&response) {
        true => body::until(response, lapsed),
        false => response,
    })
}

impl Caller {
    fn of(request: &Request) -> Self {
        let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let address = connection.map(|ConnectInfo(address)| address.ip().to_canonical());
        let agent = request.headers().get(header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or("");
        Self {
            address: address.map_or_else(|| "?".to_owned(), |address| address.to_string()),
            origin: address.map_or_else(|| "?".to_owned(), network),
            agent: agent.chars().take(200).collect(),
            behalf: None,
        }
    }
}

fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
