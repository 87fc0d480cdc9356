//! What a route does, as a mark in the document: whoever decides who may ask reads it there.

use axum::extract::DefaultBodyLimit;
use axum::routing::MethodRouter;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, RefOr};

/// The key of the mark.
pub const EFFECT: &str = "x-lifeboat-effect";

type Routes<S> = (Vec<(String, RefOr<Schema>)>, Paths, MethodRouter<S>);

/// Nothing changes.
pub fn reads<S>(routes: Routes<S>) -> Routes<S> {
    marked(routes, "reads")
}

/// Something changes.
pub fn changes<S>(routes: Routes<S>) -> Routes<S> {
    marked(routes, "changes")
}

/// Something is lost for good, or stops working.
pub fn destroys<S>(routes: Routes<S>) -> Routes<S> {
    marked(routes, "destroys")
}

/// Takes bodies of another size than usual.
pub fn limited<S: Clone + Send + Sync + 'static>(
    (schemas, paths, router): Routes<S>,
    limit: DefaultBodyLimit,
) -> Routes<S> {
    (schemas, paths, router.layer(limit))
}

fn marked<S>((schemas, mut paths, router): Routes<S>, effect: &str) -> Routes<S> {
    for item in paths.paths.values_mut() {
        operations(item).for_each(|(_, operation)| mark(operation, effect));
    }
    (schemas, paths, router)
}

fn mark(operation: &mut Operation, effect: &str) {
    let extension = ExtensionsBuilder::new().add(EFFECT, effect).build();
    operation.extensions = Some(extension);
}

/// Marks what its own part did not mark, by its method.
pub fn mark_rest(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for (method, operation) in operations(item) {
            let known = operation.extensions.as_ref();
            if known.is_none_or(|known| !known.contains_key(EFFECT)) {
                let effect = match method {
                    "get" => "reads",
                    "delete" => "destroys",
                    _ => "changes",
                };
                mark(operation, effect);
            }
        }
    }
}

/// The operations of a path, each with its method.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}
