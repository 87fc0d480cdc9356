//! The socket that only root of the machine can open. Root needs no leave, and is never locked
//! out; what root changes is in the audit trail like everything else.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::{Caller, OPERATOR, record};
use crate::access::Access;
use crate::error::AccessError;
use crate::identity::Identity;

/// Lets root of the machine do everything.
pub fn trusted(router: Router, access: Access) -> Router {
    router.layer(middleware::from_fn_with_state(access, stand_before))
}

async fn stand_before(State(access): State<Access>, request: Request, next: Next) -> Response {
    let answer = answer(access, request, next).await;
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(access: Access, mut request: Request, next: Next) -> Result<Response, AccessError> {
    let caller = Caller::of_socket(request.headers());
    request.extensions_mut().insert(caller.clone());
    record::run(request, next, Identity::root(access), &caller).await
}

impl Caller {
    fn of_socket(headers: &HeaderMap) -> Self {
        let person = headers.get(OPERATOR).and_then(|name| name.to_str().ok());
        let person = person.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()));
        Self {
            address: "socket".to_owned(),
            origin: "socket".to_owned(),
            agent: String::new(),
            behalf: person.filter(|name| *name != "root").map(str::to_owned),
        }
    }
}
