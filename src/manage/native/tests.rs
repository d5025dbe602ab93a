//! The project's own API as its callers see it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use http::Method;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::config::SecretRef;
use crate::config::Slots;
use crate::manage::native::OPENAPI;
use crate::manage::routes::Access;
use crate::manage::routes::ROUTES;
use crate::manage::tests::CONFIG;
use crate::manage::tests::Got;
use crate::manage::tests::KEYS;
use crate::manage::tests::OPERATOR;
use crate::manage::tests::OWNER;
use crate::manage::tests::Plane;
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::snapshot::inputs::Inputs;
use crate::snapshot::inputs::LoadedSlots;
use crate::snapshot::inputs::SlotKey;
use crate::snapshot::testing::Stage;
use crate::store::record_key::Owner;

impl Plane {
    async fn own(&self, method: Method, path: &str, body: &Value) -> Got {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call(method, &format!("/api/v1/{path}"), Some(OWNER), body).await
    }

    async fn show(&self, path: &str) -> Value {
        let got = self.own(Method::GET, path, &Value::Null).await;
        assert_eq!(got.status, StatusCode::OK, "{path}: {}", got.text);
        got.json()
    }

    /// Asks for what is refused, and checks how.
    async fn refusal(&self, method: Method, path: &str, body: &Value) -> (u16, String) {
        let got = self.own(method, path, body).await;
        assert_eq!(got.headers["content-type"], "application/problem+json", "{path} {body}: {}", got.text);
        assert_eq!(got.json()["status"], got.status.as_u16(), "{path} {body}");
        assert_eq!(got.at("detail"), got.at("error/message"), "{path} {body}");
        (got.status.as_u16(), got.at("error/code"))
    }
}

/// Lines such as `  /path:`, `    get:` and `      x-role: reader`: the file is written in that form throughout.
fn described() -> BTreeSet<(String, String, String)> {
    let (mut path, mut method) = ("", "");
    let mut all = BTreeSet::new();
    let paths = OPENAPI.lines().skip_while(|line| *line != "paths:").take_while(|line| *line != "components:");
    for line in paths {
        let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
        match (indent, text.strip_suffix(':'), text.strip_prefix("x-role: ")) {
            (2, Some(text), _) => path = text,
            (4, Some(text), _) => method = text,
            (6, _, Some(role)) => {
                all.insert((path.to_owned(), method.to_uppercase(), role.to_owned()));
            }
            _ => {}
        }
    }
    all
}

#[test]
fn the_description_has_every_own_call_with_its_role_and_no_other() {
    let own = ["/api/v1/", "/discovery", "/.well-known/"];
    let rows = ROUTES.iter().filter(|route| own.iter().any(|start| route.path.starts_with(start)));
    let table: BTreeSet<_> = rows
        .map(|route| {
            let role = match route.access {
                Access::Anyone => "anyone",
                Access::From(role) => role.as_str(),
            };
            (route.path.to_owned(), route.method.to_string(), role.to_owned())
        })
        .collect();
    assert_eq!(described(), table);
    let operations = OPENAPI.lines().filter(|line| line.starts_with("      operationId: ")).count();
    assert_eq!(operations, table.len(), "an operation says no role");
}

#[tokio::test]
async fn everybody_may_read_the_description() {
    let plane = Plane::new().await;
    let got = plane.call(Method::GET, "/api/v1/openapi.yaml", None, "").await;
    assert_eq!((got.status, got.text.as_str()), (StatusCode::OK, OPENAPI));
    assert_eq!(got.headers["content-type"], "application/yaml");
}

#[tokio::test]
async fn an_account_is_made_shown_changed_and_taken_away() {
    let plane = Plane::new().await;
    let new = json!({ "name": "contoso", "resource": "/a/Contoso", "mayIssue": ["Face.Verification"] });
    let made = plane.own(Method::POST, "accounts", &new).await;
    assert_eq!(
        (made.status, &made.headers["location"]),
        (StatusCode::CREATED, &"/api/v1/accounts/contoso".parse().unwrap())
    );
    let made = made.json();
    assert!(made["created"].is_u64());
    let want = json!({ "name": "contoso", "resource": "/a/Contoso", "approvals": [], "mayIssue": ["Face.Verification"],
                       "ownedBy": "store", "created": made["created"] });
    assert_eq!(made, want);
    assert_eq!(plane.show("accounts/contoso").await, want);
    let written = json!({ "name": "caller", "resource": "/a/caller", "approvals": [], "mayIssue": [],
                          "ownedBy": "gateway.yaml", "created": null });
    assert_eq!(plane.show("accounts").await, json!({ "value": [written, want] }));

    let flags = json!({ "approvals": ["Face.Verification", "Face.Identification", "Face.Verification"] });
    let changed = plane.own(Method::PATCH, "accounts/contoso", &flags).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    assert_eq!(changed.json()["approvals"], json!(["Face.Identification", "Face.Verification"]));
    assert_eq!(changed.json()["mayIssue"], json!(["Face.Verification"]), "what is not given stays");

    let keys = plane.own(Method::POST, "accounts/contoso/keys/list", &Value::Null).await;
    assert!(plane.opens(&keys.at("primaryKey")) && plane.opens(&keys.at("secondaryKey")));
    let gone = plane.own(Method::DELETE, "accounts/contoso", &Value::Null).await;
    assert_eq!((gone.status, gone.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert!(!plane.opens(&keys.at("primaryKey")) && !plane.opens(&keys.at("secondaryKey")));
    let not_found = (404, "NotFound".to_owned());
    assert_eq!(plane.refusal(Method::GET, "accounts/contoso", &Value::Null).await, not_found);
    assert_eq!(plane.refusal(Method::DELETE, "accounts/contoso", &Value::Null).await, not_found);
}

#[tokio::test]
async fn an_account_that_cannot_be_is_refused() {
    let plane = Plane::new().await;
    let new = |name: &str, resource: &str| json!({ "name": name, "resource": resource });
    assert_eq!(plane.own(Method::POST, "accounts", &new("one", "/a/one")).await.status, StatusCode::CREATED);
    for (body, want) in [
        (new("one", "/a/two"), (409, "Conflict")),
        (new("two", "/A/one/"), (409, "Conflict")),
        (new("caller", "/a/two"), (409, "Conflict")),
        (new("two", "/a/caller"), (409, "Conflict")),
        (new("Two", "/a/two"), (400, "BadArgument")),
        (new("two", "a/two"), (400, "BadArgument")),
        (json!({ "name": "two", "resource": "/a/two", "approvals": ["Face.Unheard"] }), (400, "BadArgument")),
        (json!({ "name": "two", "resource": "/a/two", "mayIssue": ["Face.Unheard"] }), (400, "BadArgument")),
        (json!({ "name": "two", "resource": "/a/two", "may_issue": [] }), (400, "BadArgument")),
        (json!({ "name": "two" }), (400, "BadArgument")),
        (json!(["two", "/a/two", [], []]), (400, "BadArgument")),
        (Value::Null, (400, "BadArgument")),
    ] {
        let (status, code) = plane.refusal(Method::POST, "accounts", &body).await;
        assert_eq!((status, code.as_str()), want, "{body}");
    }
    let told = plane.own(Method::POST, "accounts", &json!({ "name": "x", "resource": "/x", "approvals": ["?"] })).await;
    assert!(told.at("detail").contains("Face.Identification"), "{}", told.text);
    for (method, path, body, want) in [
        (Method::PATCH, "accounts/caller", json!({ "mayIssue": [] }), (409, "Conflict")),
        (Method::DELETE, "accounts/caller", Value::Null, (409, "Conflict")),
        (Method::PATCH, "accounts/nobody", json!({ "mayIssue": [] }), (404, "NotFound")),
        (Method::PATCH, "accounts/one", json!({}), (400, "BadArgument")),
        (Method::PATCH, "accounts/one", json!({ "resource": "/b" }), (400, "BadArgument")),
        (Method::PATCH, "accounts/one", json!({ "approvals": ["Face.Unheard"] }), (400, "BadArgument")),
        (Method::GET, "accounts/%6fne", Value::Null, (404, "NotFound")),
        (Method::GET, "accounts/one/keys/x", Value::Null, (404, "NotFound")),
        (Method::PUT, "accounts/one", json!({}), (405, "MethodNotAllowed")),
    ] {
        let (status, code) = plane.refusal(method.clone(), path, &body).await;
        assert_eq!((status, code.as_str()), want, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn of_two_accounts_that_are_made_at_once_for_one_resource_one_stands() {
    let plane = Plane::new().await;
    let make = async |name: &str| {
        let body = json!({ "name": name, "resource": "/a/same" });
        plane.own(Method::POST, "accounts", &body).await.status.as_u16()
    };
    let mut statuses = <[u16; 2]>::from(tokio::join!(make("one"), make("two")));
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    assert_eq!(plane.show("accounts").await["value"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn both_slots_of_services_and_accounts_are_regenerated_one_at_a_time() {
    let plane = Plane::new().await;
    let new = json!({ "name": "contoso", "resource": "/a/contoso" });
    plane.own(Method::POST, "accounts", &new).await;
    for owner in ["services/iris", "accounts/caller", "accounts/contoso"] {
        let list = async || {
            let keys = plane.own(Method::POST, &format!("{owner}/keys/list"), &Value::Null).await;
            (keys.at("primaryKey"), keys.at("secondaryKey"))
        };
        let (old, other) = list().await;
        let path = format!("/api/v1/{owner}/keys/primary/regenerate");
        let got = plane.call(Method::POST, &path, Some(OPERATOR), "").await;
        assert_eq!(got.status, StatusCode::OK, "{owner}: {}", got.text);
        assert_eq!((got.at("owner"), got.at("slot")), (owner.to_owned(), "primary".to_owned()));
        assert_eq!(list().await, (got.at("key"), other.clone()), "{owner}");
        assert!(plane.opens(&got.at("key")) && plane.opens(&other) && !plane.opens(&old), "{owner}");
        assert!(got.json()["expires"].is_null() && got.json()["retiringUntil"].is_null());
        let chosen = format!("chosen-for-{}", owner.replace('/', "-"));
        let body = json!({ "value": chosen });
        let got = plane.own(Method::POST, &format!("{owner}/keys/secondary/regenerate"), &body).await;
        assert_eq!(got.at("key"), chosen);
        assert!(plane.opens(&chosen) && !plane.opens(&other), "{owner}");
    }
    let taken = json!({ "value": "chosen-for-services-iris" });
    for (path, body, want) in [
        ("accounts/contoso/keys/primary/regenerate", taken, (409, "Conflict")),
        ("accounts/contoso/keys/primary/regenerate", json!({ "value": "short" }), (400, "BadArgument")),
        ("accounts/contoso/keys/primary/regenerate", json!({ "expires": 1 }), (400, "BadArgument")),
        ("accounts/contoso/keys/primary/regenerate", json!({ "graceSeconds": -1 }), (400, "BadArgument")),
        ("accounts/contoso/keys/primary/regenerate", json!({ "graceSeconds": 2_592_001 }), (400, "BadArgument")),
        ("accounts/contoso/keys/primary/regenerate", json!({ "slot": "primary" }), (400, "BadArgument")),
        ("accounts/contoso/keys/primary/regenerate", json!([]), (400, "BadArgument")),
        ("accounts/nobody/keys/primary/regenerate", json!({}), (404, "NotFound")),
        ("services/nobody/keys/primary/regenerate", json!({}), (404, "NotFound")),
        ("services/iris/keys/tertiary/regenerate", json!({}), (404, "NotFound")),
        ("services/token/keys/primary/regenerate", json!({}), (400, "AuthModeMismatch")),
        ("services/mounted/keys/primary/regenerate", json!({}), (409, "Conflict")),
        ("services/mounted/keys/list", Value::Null, (409, "Conflict")),
        ("services/shared/keys/list", Value::Null, (409, "Conflict")),
        ("services/iris/token", Value::Null, (400, "AuthModeMismatch")),
    ] {
        let (status, code) = plane.refusal(Method::POST, path, &body).await;
        assert_eq!((status, code.as_str()), want, "{path} {body}");
    }
    let token = plane.own(Method::POST, "services/token/token", &Value::Null).await;
    assert_eq!((token.status, token.at("tokenType")), (StatusCode::CREATED, "Bearer".to_owned()));
}

#[tokio::test]
async fn a_slot_in_use_says_so_and_is_not_regenerated_by_who_wants_an_idle_one() {
    let plane = Plane::new().await;
    let caller = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let last = UnixSeconds(UnixSeconds::now().0 - 100);
    let snapshot = plane.snapshot();
    let iris = snapshot.services.iter().find(|it| it.settings.name.as_str() == "iris").unwrap();
    for owner in [&iris.usage, &snapshot.accounts().next().unwrap().usage] {
        owner.slot(Slot::Secondary).for_each(|key| key.usage.mark(caller, last));
    }
    for owner in ["services/iris", "accounts/caller"] {
        let slots = plane.show(&format!("{owner}/keys")).await["slots"].clone();
        for (slot, want) in [("primary", json!([null, 0, 0])), ("secondary", json!([last, 1, 1]))] {
            let slot = &slots[slot];
            assert_eq!(json!([slot["lastSeen"], slot["uses"], slot["callers"]]), want, "{owner} {slot}");
        }
        for (slot, seconds, want) in [
            ("secondary", 3600, "the secondary key was last used 10"),
            ("primary", 3600, "the primary key was not used for the "),
            // It was idle for so long, and nobody has watched that.
            ("secondary", 90, "the secondary key was not used for the "),
        ] {
            let path = format!("{owner}/keys/{slot}/regenerate");
            let got = plane.own(Method::POST, &path, &json!({ "requireIdleSeconds": seconds })).await;
            assert_eq!(
                (got.status.as_u16(), got.at("error/code").as_str()),
                (409, "SlotInUse"),
                "{path}: {}",
                got.text
            );
            assert!(got.at("detail").starts_with(want), "{path} {seconds}: {}", got.text);
        }
        let body = json!({ "requireIdleSeconds": 0, "graceSeconds": 600 });
        let got = plane.own(Method::POST, &format!("{owner}/keys/secondary/regenerate"), &body).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.text);
        let slot = plane.show(&format!("{owner}/keys")).await["slots"]["secondary"].clone();
        let told = json!([slot["lastSeen"], slot["retiringLastSeen"], slot["uses"], slot["callers"]]);
        assert_eq!(told, json!([null, last, 0, 0]), "{owner}: the new key begins anew");
    }
}

#[tokio::test]
async fn slots_tell_their_times_and_never_a_key() {
    let plane = Plane::new().await;
    let far = 4_000_000_000_u64;
    let body = json!({ "graceSeconds": 600, "expires": far });
    let got = plane.own(Method::POST, "services/iris/keys/secondary/regenerate", &body).await.json();
    assert_eq!(
        (&got["expires"], got["retiringUntil"].as_u64()),
        (&json!(far), got["created"].as_u64().map(|at| at + 600))
    );
    let shown = plane.show("services/iris/keys").await;
    assert_eq!((&shown["owner"], &shown["ownedBy"]), (&json!("services/iris"), &json!("store")));
    let secondary = &shown["slots"]["secondary"];
    for member in ["created", "expires", "retiringUntil"] {
        assert_eq!(secondary[member], got[member], "{member}");
    }
    assert_eq!(shown["slots"]["primary"]["expires"], Value::Null);
    assert!(shown["slots"]["primary"]["created"].is_u64());
    let every = plane.show("keys").await;
    let owners: Vec<&str> = every["value"].as_array().unwrap().iter().map(|it| it["owner"].as_str().unwrap()).collect();
    assert_eq!(owners, ["services/aci", "services/iris", "services/mounted", "accounts/caller"]);
    assert!(every["value"].as_array().unwrap().contains(&shown));
    let mounted = &every["value"][2];
    assert_eq!(
        (&mounted["ownedBy"], &mounted["slots"]),
        (&json!("directory"), &json!({ "primary": null, "secondary": null }))
    );
    assert!(!every.to_string().contains(got["key"].as_str().unwrap()));
}

#[tokio::test]
async fn slots_that_others_own_are_shown_as_far_as_they_are_there() {
    let mut inputs = Inputs::default();
    for (_, name, key) in KEYS {
        let loaded = (SecretRef::Env(name.to_owned()), Digest::of(key.as_bytes()));
        inputs.management_keys.insert(Name::parse(name).unwrap(), loaded);
    }
    let expires = Some(UnixSeconds(4_000_000_000));
    let key = SlotKey { slot: Slot::Secondary, digest: Digest::of(b"a-key-in-a-mounted-file"), expires };
    let mounted = LoadedSlots { from: Slots::Directory("/run/keys".into()), keys: vec![key] };
    inputs.slots.insert(Owner::Service(Name::parse("mounted").unwrap()), mounted);
    let plane = Plane::over(Stage::with_inputs(CONFIG, inputs).await);
    let shown = plane.show("services/mounted/keys").await;
    let (primary, secondary) = (&shown["slots"]["primary"], &shown["slots"]["secondary"]);
    assert_eq!((&shown["ownedBy"], primary), (&json!("directory"), &Value::Null));
    assert_eq!((&secondary["expires"], &secondary["created"]), (&json!(4_000_000_000_u64), &Value::Null));
    assert_eq!(plane.show("keys").await["value"][2], shown);
}

#[tokio::test]
async fn signing_keys_are_not_rotated_until_no_set_of_them_could_be_published() {
    let plane = Plane::new().await;
    for rotation in 1..=31 {
        let got = plane.own(Method::POST, "signing-keys/rotate", &Value::Null).await;
        assert_eq!(got.status, StatusCode::CREATED, "rotation {rotation}: {}", got.text);
    }
    let refused = plane.refusal(Method::POST, "signing-keys/rotate", &Value::Null).await;
    assert_eq!(refused, (409, "Conflict".to_owned()));
    let keys = plane.show("signing-keys").await;
    let keys = keys["value"].as_array().unwrap();
    assert_eq!((keys.len(), keys.iter().filter(|key| key["signs"] == true).count()), (32, 1));
    assert_eq!(plane.refusal(Method::POST, "signing-keys/rotate", &json!({ "x": 1 })).await.0, 400);
}
