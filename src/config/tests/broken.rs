//! A new way to be wrong is a new row here.

use super::{SMALL, small_with};
use crate::config::{Config, raw, report, schema};

/// Who must refuse a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The schema, which an independent validator then refuses it by too.
    Schema,
    /// The meaning, about which a schema knows nothing.
    Meaning,
}

use By::{Meaning, Schema};

/// What is replaced in the small file and by what, where the problem is told, a part of what is told, and by whom.
type Row = (&'static str, &'static str, &'static str, &'static str, By);

const SERVICE: &str = "upstream: model";
const AUTH: &str = "{key: {}}";
const MODEL: &str = "{endpoints: ['http://127.0.0.1:5001']}";
const TOP: &str = "upstreams:\n";
const TRAFFIC: &str = "[{address: '127.0.0.1:8080'}]";

#[rustfmt::skip]
const STRUCTURE: &[Row] = &[
    (TOP, "wrokers: 2\nupstreams:\n", "4:1 wrokers", "there is no such field here (did you mean \"workers\"?)", Schema),
    (SERVICE, "upsteam: model", "7:3 services.iris.upstream", "missing: the name of the upstream", Schema),
    (SERVICE, "upsteam: model", "8:5 services.iris.upsteam", "(did you mean \"upstream\"?)", Schema),
    ("health: {address: '127.0.0.1:8082'}", "health: {}", "3:3 listeners.health.address", "this field is missing", Schema),
    (AUTH, "{key: {}, tokn: {}}", "9:21 services.iris.auth.tokn", "(did you mean \"token\"?)", Schema),
    (AUTH, "{key: }", "9:12 services.iris.auth.key", "want a mapping, found nothing", Schema),
    (AUTH, "", "9:5 services.iris.auth", "want a mapping, found nothing", Schema),
    (AUTH, "key", "9:5 services.iris.auth", "want a mapping", Schema),
    (AUTH, "{public: true}", "9:12 services.iris.auth.public", "want text, put it in quotes", Schema),
    (AUTH, "{key: {accounts: all}}", "9:18 services.iris.auth.key.accounts", "want every or a list", Schema),
    (AUTH, "{key: {accounts: evry}}", "9:18 services.iris.auth.key.accounts", "(did you mean \"every\"?)", Schema),
    (AUTH, "{key: {from: []}}", "9:18 services.iris.auth.key.from", "at least one item", Schema),
    (AUTH, "{key: {from: [cookie]}}", "9:25 services.iris.auth.key.from[0]", "want bearer or a mapping", Schema),
    (AUTH, "{key: {keys: s3cret-value}}", "9:18 services.iris.auth.key.keys", "want none or a mapping", Schema),
    (AUTH, "{key: {keys: {primary: s3cret-value}}}", "9:25 services.iris.auth.key.keys.primary", "want a mapping", Schema),
    (AUTH, "{token: {required_claims: {tid: 7}}}", "9:38 services.iris.auth.token.required_claims.tid", "quotes", Schema),
    (MODEL, "{endpoints: 'http://127.0.0.1:5001'}", "5:11 upstreams.model.endpoints", "want a list", Schema),
    (MODEL, "{endpoints: []}", "5:11 upstreams.model.endpoints", "at least one item", Schema),
    (MODEL, "{endpoints: ['http://127.0.0.1:5001'], protocol: http3}", "5:49 upstreams.model.protocol", "want http1 or http2", Schema),
    (TOP, "workers: many\nupstreams:\n", "4:1 workers", "want a whole number from 1 to 1024", Schema),
    (TOP, "workers: 0\nupstreams:\n", "4:1 workers", "want a whole number from 1 to 1024", Schema),
    (TOP, "workers: 1.5\nupstreams:\n", "4:1 workers", "want a whole number", Schema),
    (TOP, "access_log: on\nupstreams:\n", "4:1 access_log", "want off or a mapping", Schema),
    (TOP, "access_log: {sample: 2}\nupstreams:\n", "4:14 access_log.sample", "want a number from 0.0 to 1.0", Schema),
    (TOP, "audit: on\nupstreams:\n", "4:1 audit", "want off or a mapping", Schema),
    (TOP, "audit: {on_failure: stop}\nupstreams:\n", "4:9 audit.on_failure", "block", Schema),
    (TOP, "audit: {max_file: 1KiB}\nupstreams:\n", "4:9 audit.max_file", "want a size from 4KiB to 1GiB", Meaning),
    (TOP, "accounts:\nupstreams:\n", "4:1 accounts", "want a mapping, found nothing", Schema),
    (TOP, "features: Custom\nupstreams:\n", "4:1 features", "want a list", Schema),
    (TOP, "tokens: {algorithm: HS256}\nupstreams:\n", "4:10 tokens.algorithm", "want ES256, EdDSA or RS256", Schema),
    (TOP, "issuers: {a: {issuer: i, keys: {file: f}, algorithms: [none]}}\nupstreams:\n", "4:56 issuers.a.algorithms[0]", "want RS256,", Schema),
    (TOP, "issuers: {a: {issuer: i, keys: {file: f}}}\nupstreams:\n", "4:11 issuers.a.algorithms", "missing: algorithms that", Schema),
    (SERVICE, "upstream: model\n    issues_limited_access_tokens: maybe", "9:5 services.iris.issues_limited_access_tokens", "true or false", Schema),
    (SERVICE, "upstream: model\n    path_allows: [dots]", "9:19 services.iris.path_allows[0]", "want encoded_separators,", Schema),
    (SERVICE, "upstream: model\n    match: [{path: /a, method: GET}]", "9:24 services.iris.match[0].method", "\"methods\"", Schema),
    (SERVICE, "upstream: model\n    upgrades: h2c", "9:5 services.iris.upgrades", "want websocket", Schema),
    (SERVICE, "upstream: model\n    preset: oip", "9:5 services.iris.preset", "want oip-v2,", Schema),
    (SERVICE, "upstream: model\n    max_body: 1048576", "9:5 services.iris.max_body", "want text, put it in quotes", Schema),
    (TRAFFIC, "[]", "2:3 listeners.traffic", "at least one item", Schema),
    (TRAFFIC, "[{address: '127.0.0.1:80', limits: {connections: 0}}]", "2:48 listeners.traffic[0].limits.connections", "want a whole number from 1 to 10000000", Schema),
    (TRAFFIC, "[{address: '127.0.0.1:80', limits: {conections: 1}}]", "2:48 listeners.traffic[0].limits.conections", "\"connections\"", Schema),
    (TRAFFIC, "[{address: '127.0.0.1:80', limits: {max_target: 64KiB}}]", "2:48 listeners.traffic[0].limits.max_target", "want a size from 1KiB to 60KiB", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:80', limits: {max_headers: 1B}}]", "2:48 listeners.traffic[0].limits.max_headers", "want a size from 1KiB to 1MiB", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:80', limits: {shared_addresses: [10.0.0.1/8]}}]", "2:67 listeners.traffic[0].limits.shared_addresses[0]", "10.0.0.0/8", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:80', timeouts: {head: 10ms}}]", "2:50 listeners.traffic[0].timeouts.head", "want a duration from 1s to 1d", Meaning),
    (TRAFFIC, "[{address: 8080}]", "2:14 listeners.traffic[0].address", "want text", Schema),
    ("services:\n  iris:\n    upstream: model\n    auth: {key: {}}\n", "services: []\n", "6:1 services", "want a mapping", Schema),
];

#[rustfmt::skip]
const AUTH_AND_KEYS: &[Row] = &[
    (AUTH, "{}", "9:5 services.iris.auth", "want exactly one of key, token and public, found none of them", Meaning),
    (AUTH, "{key: {}, token: {}}", "9:5 services.iris.auth", "found key and token", Meaning),
    (AUTH, "{key: {}, token: {}, public: x}", "9:5 services.iris.auth", "found key and token and public", Meaning),
    (AUTH, "{public: ' '}", "9:12 services.iris.auth.public", "want the reason why everybody", Meaning),
    (AUTH, "{key: {keys: none}}", "9:12 services.iris.auth.key", "nobody could call", Meaning),
    (AUTH, "{key: {accounts: [door-maker]}}", "9:29 services.iris.auth.key.accounts[0]", "there is no account \"door-maker\"", Meaning),
    (AUTH, "{key: {from: [{header: authorization}]}}", "9:26 services.iris.auth.key.from[0].header", "read by `bearer`", Meaning),
    (AUTH, "{key: {from: [{header: Host}]}}", "9:26 services.iris.auth.key.from[0].header", "want another header: host", Meaning),
    (AUTH, "{key: {from: [{header: content-length}]}}", "9:26 services.iris.auth.key.from[0].header", "want another header", Meaning),
    (AUTH, "{key: {from: [{header: x_key}]}}", "9:26 services.iris.auth.key.from[0].header", "without underscores", Meaning),
    (AUTH, "{key: {from: [{header: 'x key'}]}}", "9:26 services.iris.auth.key.from[0].header", "want the name of a header", Meaning),
    (AUTH, "{key: {from: [{header: a, query: b}]}}", "9:25 services.iris.auth.key.from[0]", "found header and query", Meaning),
    (AUTH, "{key: {from: [{}]}}", "9:25 services.iris.auth.key.from[0]", "found none of them", Meaning),
    (AUTH, "{key: {from: [{query: 'a=b'}]}}", "9:26 services.iris.auth.key.from[0].query", "want a name of letters", Meaning),
    (AUTH, "{key: {from: [bearer, bearer]}}", "9:33 services.iris.auth.key.from[1]", "listed twice", Meaning),
    (AUTH, "{key: {keys: {}}}", "9:18 services.iris.auth.key.keys", "want a directory, or references", Meaning),
    (AUTH, "{key: {keys: {directory: d, primary: {key: 'file:f'}}}}", "9:18 services.iris.auth.key.keys", "found directory and primary", Meaning),
    (AUTH, "{key: {keys: {primary: {key: s3cret-value}}}}", "9:35 services.iris.auth.key.keys.primary.key", "want file:<path>, env:<NAME> or", Meaning),
    (AUTH, "{key: {keys: {primary: {key: 'plain:s3cret-value'}}}}", "9:35 services.iris.auth.key.keys.primary.key", "a secret itself never", Meaning),
    (AUTH, "{key: {keys: {primary: {key: 'env:1A'}}}}", "9:35 services.iris.auth.key.keys.primary.key", "want file:<path>", Meaning),
    (AUTH, "{key: {keys: {primary: {key: 'credential:../x'}}}}", "9:35 services.iris.auth.key.keys.primary.key", "want file:<path>", Meaning),
    (AUTH, "{key: {keys: {primary: {key: 'env:A'}, secondary: {key: 'env:A'}}}}", "9:62 services.iris.auth.key.keys.secondary.key", "services.iris.auth.key.keys.primary.key refers to the same", Meaning),
    (AUTH, "{key: {keys: {directory: /k}}}\n  two: {upstream: model, auth: {key: {keys: {primary: {key: 'file:/k/./secondary'}}}}}", "10:56 services.two.auth.key.keys.primary.key", "refers to the same", Meaning),
    (AUTH, "{key: {keys: {primary: {key: 'env:A', expires: tomorrow}}}}", "9:49 services.iris.auth.key.keys.primary.expires", "2027-01-31T00:00:00Z", Meaning),
    (AUTH, "{token: {issuers: [corp]}}", "9:30 services.iris.auth.token.issuers[0]", "there is no issuer \"corp\"", Meaning),
    (AUTH, "{token: {issuers: [own, own]}}", "9:35 services.iris.auth.token.issuers[1]", "listed twice", Meaning),
    (AUTH, "{token: {audiences: ['']}}", "9:32 services.iris.auth.token.audiences[0]", "want an audience", Meaning),
    (AUTH, "{token: {resource: {}}}", "9:20 services.iris.auth.token.resource", "found none of them", Meaning),
    (AUTH, "{token: {resource: {fixed: accounts/a}}}", "9:31 services.iris.auth.token.resource.fixed", "want a resource identifier", Meaning),
    (TOP, "accounts: {a: {resource: /s/A}, b: {resource: /s/a/}}\nupstreams:\n", "4:37 accounts.b.resource", "the account \"a\" stands for the same", Meaning),
    (TOP, "accounts: {a: {resource: /s/a, approvals: [Face.Identfication]}}\nupstreams:\n", "4:44 accounts.a.approvals[0]", "(did you mean \"Face.Identification\"?)", Meaning),
    (TOP, "accounts: {a: {resource: /s/a, may_issue: [Custom]}}\nupstreams:\n", "4:44 accounts.a.may_issue[0]", "known are Face.Identification, ", Meaning),
    (TOP, "accounts: {Door: {resource: /s/a}}\nupstreams:\n", "4:12 accounts.Door", "want 1 to 63 characters", Meaning),
];

#[rustfmt::skip]
const REST: &[Row] = &[
    (TRAFFIC, "[{address: 'localhost:8080'}]", "2:14 listeners.traffic[0].address", "want IP:PORT", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:1', forward_auth: {proxy: haproxy, peers: [127.0.0.1]}}]", "2:53 listeners.traffic[0].forward_auth.proxy", "want envoy, traefik, caddy or nginx", Schema),
    (TRAFFIC, "[{address: '127.0.0.1:1', forward_auth: {proxy: envoy, peers: []}}]", "2:67 listeners.traffic[0].forward_auth.peers", "at least one item", Schema),
    (TRAFFIC, "[{address: '127.0.0.1:1', forward_auth: {proxy: envoy}}]", "2:38 listeners.traffic[0].forward_auth", "missing: `peers`", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:1', forward_auth: {proxy: envoy, peers: [10.0.0.1/8]}}]", "2:75 listeners.traffic[0].forward_auth.peers[0]", "10.0.0.0/8", Meaning),
    (TRAFFIC, "[{address: 'unix:/s', forward_auth: {proxy: envoy, peers: [127.0.0.1]}}]", "2:63 listeners.traffic[0].forward_auth.peers", "whoever can open it", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:1'}]\n  management: {address: '127.0.0.1:2', forward_auth: {proxy: envoy, peers: [127.0.0.1]}}", "3:40 listeners.management.forward_auth", "on a listener of traffic", Meaning),
    (TRAFFIC, "[{address: 'unix:sock'}]", "2:14 listeners.traffic[0].address", "absolute path", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:8082'}]", "3:12 listeners.health.address", "no other listener has", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:1', name: health}]", "3:3 listeners.health.name", "no other listener has", Meaning),
    (TRAFFIC, "[{address: '127.0.0.1:1', tls: {certificate: '', private_key: k}}]", "2:44 listeners.traffic[0].tls.certificate", "want a path", Meaning),
    (TOP, "store: {master_key: s3cret-value}\nupstreams:\n", "4:9 store.master_key", "a secret itself never stands", Meaning),
    (TOP, "store: {etcd: {endpoints: ['http://127.0.0.1:2379']}}\nupstreams:\n", "4:1 store.master_key", "all gateways seal and open under the same one", Meaning),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: []}}\nupstreams:\n", "4:37 store.etcd.endpoints", "at least one item", Schema),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['http://10.0.0.1:2379']}}\nupstreams:\n", "4:49 store.etcd.endpoints[0]", "want https: whoever can change records", Meaning),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['https://a']}}\nupstreams:\n", "4:49 store.etcd.endpoints[0]", "want a URL of a host and a port", Meaning),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['https://u:s3cret-value@a:1']}}\nupstreams:\n", "4:49 store.etcd.endpoints[0]", "want a URL of a host and a port", Meaning),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['https://a:1', 'http://[::1]:1']}}\nupstreams:\n", "4:64 store.etcd.endpoints[1]", "the same scheme", Meaning),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['http://127.0.0.1:2379'], prefix: /a}}\nupstreams:\n", "4:75 store.etcd.prefix", "want a prefix between slashes", Meaning),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['http://127.0.0.1:2379'], tls: {}}}\nupstreams:\n", "4:75 store.etcd.tls", "want https:// endpoints", Meaning),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['http://127.0.0.1:2379'], user: {name: '', password: 'env:P'}}}\nupstreams:\n", "4:82 store.etcd.user.name", "want the name of a user", Meaning),
    (TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['http://127.0.0.1:2379'], user: {name: n, password: s3cret-value}}}\nupstreams:\n", "4:91 store.etcd.user.password", "a secret itself never stands", Meaning),
    (TOP, "store: {previous_master_keys: [s3cret-value]}\nupstreams:\n", "4:32 store.previous_master_keys[0]", "a secret itself never stands", Meaning),
    (TOP, "workspace: /subscriptions/s/workspaces/w\nupstreams:\n", "4:1 workspace", "Microsoft.MachineLearningServices", Meaning),
    (TOP, "features: [Face.Verification]\nupstreams:\n", "4:12 features[0]", "Azure's three are always known", Meaning),
    (TOP, "features: ['a b']\nupstreams:\n", "4:12 features[0]", "is no feature", Meaning),
    (TOP, "trusted_proxies: [proxy]\nupstreams:\n", "4:19 trusted_proxies[0]", "want a network such as", Meaning),
    (TOP, "trusted_proxies: [10.1.0.0/8]\nupstreams:\n", "4:19 trusted_proxies[0]", "such as 10.0.0.0/8", Meaning),
    (TOP, "shutdown: {delay: '5'}\nupstreams:\n", "4:12 shutdown.delay", "want a duration with its unit", Meaning),
    (TOP, "reload: {poll: 0s}\nupstreams:\n", "4:10 reload.poll", "want a duration from 1s to 1d", Meaning),
    (TOP, "tokens: {lifetime: 1h, refresh_after: 2h}\nupstreams:\n", "4:24 tokens.refresh_after", "no later than the end of life, 1h", Meaning),
    (TOP, "issuers: {own: {issuer: i, keys: {file: f}, algorithms: [RS256]}}\nupstreams:\n", "4:11 issuers.own", "is this gateway itself", Meaning),
    (TOP, "issuers: {a: {issuer: 'urn:scoregate', keys: {file: f}, algorithms: [RS256]}}\nupstreams:\n", "4:15 issuers.a.issuer", "this gateway's own tokens", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {file: f}, algorithms: [HS256]}}\nupstreams:\n", "4:56 issuers.a.algorithms[0]", "want HMAC only with a `secret`", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {secret: 'env:S'}, algorithms: [HS256, RS256]}}\nupstreams:\n", "4:71 issuers.a.algorithms[1]", "want HS256, HS384 or HS512", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {secret: s3cret-value}, algorithms: [HS256]}}\nupstreams:\n", "4:33 issuers.a.keys.secret", "a secret itself never", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {file: f, url: 'https://a'}, algorithms: [RS256]}}\nupstreams:\n", "4:26 issuers.a.keys", "found file and url", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {}, algorithms: [RS256]}}\nupstreams:\n", "4:26 issuers.a.keys", "found none of them", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {url: 'http://keys.example.com/'}, algorithms: [RS256]}}\nupstreams:\n", "4:33 issuers.a.keys.url", "want https", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {url: 'https://u:s3cret-value@a/'}, algorithms: [RS256]}}\nupstreams:\n", "4:33 issuers.a.keys.url", "without user information", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {file: f}, algorithms: [RS256], refresh: 1m}}\nupstreams:\n", "4:64 issuers.a.refresh", "only where keys are fetched", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {file: f}, algorithms: [RS256], leeway: 6m}}\nupstreams:\n", "4:64 issuers.a.leeway", "from 0ms to 5m", Meaning),
    (MODEL, "{endpoints: ['http://u:s3cret-value@127.0.0.1:5001']}", "5:23 upstreams.model.endpoints[0]", "nothing but a host and a port", Meaning),
    (MODEL, "{endpoints: ['http://127.0.0.1:5001/score']}", "5:23 upstreams.model.endpoints[0]", "nothing but a host and a port", Meaning),
    (MODEL, "{endpoints: ['127.0.0.1:5001']}", "5:23 upstreams.model.endpoints[0]", "want http://host:port", Meaning),
    (MODEL, "{endpoints: ['http://127.0.0.1:0']}", "5:23 upstreams.model.endpoints[0]", "want a port from 1", Meaning),
    (MODEL, "{endpoints: ['http://a', 'https://a']}", "5:35 upstreams.model.endpoints[1]", "the same scheme", Meaning),
    (MODEL, "{endpoints: ['http://a', 'http://A:80/']}", "5:35 upstreams.model.endpoints[1]", "listed twice", Meaning),
    (MODEL, "{endpoints: ['h2c://a'], protocol: http1}", "5:35 upstreams.model.protocol", "want http2", Meaning),
    (MODEL, "{endpoints: ['http://a'], tls: {}}", "5:36 upstreams.model.tls", "want https:// endpoints", Meaning),
    (MODEL, "{endpoints: ['https://a'], tls: {client_certificate: c}}", "5:37 upstreams.model.tls.client_key", "beside `client_certificate`", Meaning),
    (MODEL, "{endpoints: ['https://a'], host: 'a b'}", "5:37 upstreams.model.host", "want client, endpoint, or a host", Meaning),
    (SERVICE, "upstream: modle", "8:5 services.iris.upstream", "(did you mean \"model\"?)", Meaning),
    (SERVICE, "upstream: model\n    match: [{}]", "9:13 services.iris.match[0]", "want a path, a prefix or a host", Meaning),
    (SERVICE, "upstream: model\n    match: [{path: /a, prefix: /a}]", "9:13 services.iris.match[0]", "found both", Meaning),
    (SERVICE, "upstream: model\n    match: [{path: score}]", "9:14 services.iris.match[0].path", "want a path", Meaning),
    (SERVICE, "upstream: model\n    match: [{prefix: /a/}]", "9:14 services.iris.match[0].prefix", "without a slash at its end", Meaning),
    (SERVICE, "upstream: model\n    match: [{host: 'a:80'}]", "9:14 services.iris.match[0].host", "without port", Meaning),
    (SERVICE, "upstream: model\n    match: [{path: /a, methods: [get]}]", "9:34 services.iris.match[0].methods[0]", "in capitals", Meaning),
    (SERVICE, "upstream: model\n    match: [{path: /a, methods: [TRACE]}]", "9:34 services.iris.match[0].methods[0]", "never forwarded", Meaning),
    (SERVICE, "upstream: model\n    match: [{prefix: /a}, {path: /ab}]\n    strip_prefix: /a", "10:5 services.iris.strip_prefix", "every path and prefix", Meaning),
    (SERVICE, "upstream: model\n    preset: azureml\n    match: [{path: /score}]", "10:13 services.iris.match[0]", "want a prefix or a host alone beside `preset`", Meaning),
    (SERVICE, "upstream: model\n    strip_prefix: /", "9:5 services.iris.strip_prefix", "at least one segment", Meaning),
    (SERVICE, "upstream: model\n    features: {}", "9:5 services.iris.features", "want a preset, rules, or both", Meaning),
    (SERVICE, "upstream: model\n    features: {rules: [{path: /a}]}", "9:24 services.iris.features.rules[0]", "exactly one of any_of and all_of", Meaning),
    (SERVICE, "upstream: model\n    issues_limited_access_tokens: true", "9:5 services.iris.issues_limited_access_tokens", "want `auth: {key: {accounts", Meaning),
    (SERVICE, "deployments: {}", "8:5 services.iris.deployments", "at least one deployment", Meaning),
    (SERVICE, "deployments: {blue: {upstream: model}}\n    upstream: model", "8:5 services.iris.deployments", "found both", Meaning),
    (SERVICE, "deployments: {Blue: {upstream: model}}", "8:19 services.iris.deployments.Blue", "characters of a-z", Meaning),
    (SERVICE, "deployments: {blue: {upstream: modle}}", "8:26 services.iris.deployments.blue.upstream", "(did you mean \"model\"?)", Meaning),
    (SERVICE, "strip_prefix: none", "7:3 services.iris.upstream", "or `deployments`", Meaning),
    (MODEL, "{endpoints: ['http://a'], health_check: {path: a}}", "5:51 upstreams.model.health_check.path", "want a path such as", Meaning),
    (MODEL, "{endpoints: ['http://a'], health_check: {path: /a, grpc: ''}}", "5:36 upstreams.model.health_check", "found both", Meaning),
    (MODEL, "{endpoints: ['http://a'], health_check: {grpc: ''}}", "5:51 upstreams.model.health_check.grpc", "want `protocol: http2`", Meaning),
    (MODEL, "{endpoints: ['http://a'], health_check: {every: 1ms}}", "5:51 upstreams.model.health_check.every", "from 100ms to 1h", Meaning),
    (MODEL, "{endpoints: ['http://a'], ejection: {for: 1h, at_most: 1m}}", "5:56 upstreams.model.ejection.at_most", "no less than `for`", Meaning),
    (MODEL, "{endpoints: ['http://a'], ejection: {failures: 0}}", "5:47 upstreams.model.ejection.failures", "want a whole number", Schema),
    (MODEL, "{endpoints: ['http://a'], retries: {of: all}}", "5:46 upstreams.model.retries.of", "unwritten", Schema),
    (MODEL, "{endpoints: ['http://a'], retries: {share: 2}}", "5:46 upstreams.model.retries.share", "from 0", Schema),
    (SERVICE, "upstream: model\n    limits: {concurrency: 0}", "9:14 services.iris.limits.concurrency", "want a whole number from 1 to 1000000", Schema),
    (SERVICE, "upstream: model\n    limits: {queue: 3}", "9:14 services.iris.limits.queue", "want `concurrency` with it", Meaning),
    (SERVICE, "upstream: model\n    limits: {queue_wait: 1s}", "9:14 services.iris.limits.queue_wait", "want `concurrency` with it", Meaning),
    (SERVICE, "upstream: model\n    limits: {concurrency: 1, queue_wait: 2h}", "9:30 services.iris.limits.queue_wait", "from 1ms to 1h", Meaning),
    (SERVICE, "upstream: model\n    limits: {per_caller: {per: 1m}}", "9:27 services.iris.limits.per_caller.per", "want `requests` with it", Meaning),
    (SERVICE, "upstream: model\n    limits: {per_caller: {requests: 1, per: 500ms}}", "9:40 services.iris.limits.per_caller.per", "from 1s to 1d", Meaning),
    (SERVICE, "upstream: model\n    platform: gke", "9:5 services.iris.platform", "want aks or aci", Schema),
    ("    auth: {key: {}}\n", "", "7:3 services.iris.auth", "missing: who may call", Meaning),
    ("auth: {key: {}}", "platform: aci", "7:3 services.iris.auth", "Azure leaves such a service on ACI open", Meaning),
    (TOP, "tokens: {rotate_every: 23h}\nupstreams:\n", "4:10 tokens.rotate_every", "want a duration from 1d to 3650d", Meaning),
    (TOP, "tokens: {rotate_every: never}\nupstreams:\n", "4:10 tokens.rotate_every", "want a duration with its unit", Meaning),
    (AUTH, "{public: x}\n    managed: true", "10:5 services.iris.managed", "want a key or a token with it", Meaning),
    (AUTH, "{key: {}}\n    managed: true\n    platform: aci", "10:5 services.iris.managed", "want `platform: aks`", Meaning),
    (AUTH, "{key: {accounts: every}}\n    managed: true\n    issues_limited_access_tokens: true", "10:5 services.iris.managed", "want no `issues_limited", Meaning),
    (AUTH, "{token: {}}\n    managed: true\n    identity: {principal: ocp-apim-subscription-key}", "11:16 services.iris.identity.principal", "carries the key", Meaning),
    (AUTH, "{token: {}}\n    platform: aci", "10:5 services.iris.platform", "do not support token authentication", Meaning),
    (TOP, "public_url: models.example.com\nupstreams:\n", "4:1 public_url", "want a URL such as", Meaning),
    (TOP, "public_url: 'https://a.example/?key=s3cret-value'\nupstreams:\n", "4:1 public_url", "without a query", Meaning),
    (TOP, "management_keys: {ops: {key: s3cret-value, role: owner}}\nupstreams:\n", "4:25 management_keys.ops.key", "never stands in this file", Meaning),
    (TOP, "management_keys: {ops: {key: 'file:k', role: admin}}\nupstreams:\n", "4:40 management_keys.ops.role", "want reader, operator or owner", Schema),
    (TOP, "management_issuers: {corp: {audiences: [gw], roles: {claim: roles, owner: [admin]}}}\nupstreams:\n", "4:22 management_issuers.corp", "there is no issuer", Meaning),
    (TOP, "issuers: {a: {issuer: i, keys: {file: f}, algorithms: [RS256]}}\nmanagement_issuers: {a: {audiences: [gw], roles: {claim: roles}}}\nupstreams:\n", "5:43 management_issuers.a.roles", "at least one value", Meaning),
    (TOP, "management_issuers: {corp: {audiences: [], roles: {claim: roles}}}\nupstreams:\n", "4:29 management_issuers.corp.audiences", "at least one item", Schema),
    (TOP, "management_keys: {a: {key: 'env:K', role: owner}, b: {key: 'env:K', role: reader}}\nupstreams:\n", "4:55 management_keys.b.key", "want a key of its own", Meaning),
    (SERVICE, "upstream: model\n    identity: {principal: X-A, features: x-a}", "9:32 services.iris.identity.features", "a header of its own", Meaning),
    (SERVICE, "upstream: model\n    identity: {principal: Transfer-Encoding}", "9:16 services.iris.identity.principal", "want another header", Meaning),
    (SERVICE, "upstream: model\n    identity: {principal: Ocp-Apim-Subscription-Key}", "9:16 services.iris.identity.principal", "carries the key", Meaning),
    (SERVICE, "upstream: model\n    max_body: 64MB", "9:5 services.iris.max_body", "want a size with its unit", Meaning),
    (SERVICE, "upstream: model\n    timeouts: {connect: 0s}", "9:16 services.iris.timeouts.connect", "want a duration from 1ms", Meaning),
    (SERVICE, "upstream: model\n    timeouts: {total: never}", "9:16 services.iris.timeouts.total", "want a duration", Meaning),
    (AUTH, "{public: reason}\n    features: {preset: face}", "10:5 services.iris.features", "nobody can be granted", Meaning),
];

#[test]
fn a_broken_file_is_refused_where_it_is_broken() {
    let judge = jsonschema::validator_for(&schema()).unwrap();
    let mut wrong = String::new();
    for (from, to, place, part, by) in STRUCTURE.iter().chain(AUTH_AND_KEYS).chain(REST) {
        let text = small_with(from, to);
        let problems = Config::read(&text).expect_err(&text);
        let told: Vec<String> =
            problems.iter().map(|it| format!("{}:{} {}: {}", it.line, it.column, it.path, it.what)).collect();
        let is_told = told.iter().any(|told| told.starts_with(&format!("{place}: ")) && told.contains(part));
        // One thing was broken, so one thing is told; the field that is misspelt is also missing.
        let only = told.len() == if to.starts_with("upsteam") { 2 } else { 1 };
        if !is_told || !only {
            wrong.push_str(&format!("want {place}: …{part}…, got\n{}\nfor {to}\n\n", told.join("\n")));
        }
        assert!(!told.iter().any(|told| told.contains("s3cret-value")), "a value where a secret can stand: {told:?}");
        let fits = judge.is_valid(&raw::values(&text).unwrap());
        assert_eq!(fits, *by == Meaning, "an independent validator disagrees about\n{text}");
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(judge.is_valid(&raw::values(SMALL).unwrap()));
}

#[test]
fn what_no_tree_of_values_can_tell_is_told() {
    let large = format!("# {}\n{SMALL}", "x".repeat(1 << 20));
    let twice = format!("{SMALL}  iris:\n    upstream: model\n    auth: {{public: x}}\n");
    for (text, line, column, part) in [
        ("", 1, 1, "the file is empty"),
        ("services: [\n", 2, 1, "this is not YAML"),
        ("a: *b\n", 1, 4, "this is not YAML"),
        (&format!("{SMALL}---\n{SMALL}"), 10, 1, "one YAML document"),
        (&twice, 10, 3, "given twice, first on line 7"),
        (&large, 1, 1, "at most 1 MiB"),
        ("just text\n", 1, 1, "want a mapping"),
    ] {
        let problems = Config::read(text).unwrap_err();
        let first = &problems[0];
        assert_eq!((first.line, first.column), (line, column), "{problems:?}");
        assert!(first.what.contains(part), "{problems:?}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_file_order_and_none_that_only_follows() {
    let text = "\
listeners:
  traffic: [{address: nowhere}]
  health: {address: '127.0.0.1:8082', tls: {}}
upstreams:
  model: {endpoints: 'http://127.0.0.1:5001'}
  other: {endpoints: ['ftp://127.0.0.1']}
services:
  Iris:
    upstream: model
    auth: {key: {}}
  docs:
    upstream: othre
    auth: {public: 7}
    match: [{path: /docs}]
  token:
    upstream: other
    auth: {key: {}, token: {}}
    timeout: {}
";
    let problems = Config::read(text).unwrap_err();
    let told: Vec<(usize, &str)> = problems.iter().map(|problem| (problem.line, &*problem.path)).collect();
    assert_eq!(
        told,
        [
            (2, "listeners.traffic[0].address"),
            (3, "listeners.health.tls"),
            (5, "upstreams.model.endpoints"),
            (6, "upstreams.other.endpoints[0]"),
            (8, "services.Iris"),
            (12, "services.docs.upstream"),
            (13, "services.docs.auth.public"),
            (17, "services.token.auth"),
            (18, "services.token.timeout"),
        ],
        "{problems:#?}"
    );
}

#[test]
fn the_report_names_the_file_so_that_an_editor_can_jump_there() {
    let problems = Config::read(&small_with(SERVICE, "upstream: modle")).unwrap_err();
    let there_is_none = "there is no upstream \"modle\" under `upstreams` (did you mean \"model\"?)";
    assert_eq!(
        report::problems("etc/gateway.yaml", &problems),
        format!("etc/gateway.yaml:8:5: services.iris.upstream: {there_is_none}\netc/gateway.yaml: 1 problem\n")
    );
}

#[cfg(feature = "otel")]
#[test]
fn a_collector_of_traces_that_cannot_be_meant_is_refused() {
    for (written, path, what) in [
        ("{endpoint: 'otel:4318'}", "tracing.endpoint", "want a collector's address"),
        ("{endpoint: 'http://a?x=1'}", "tracing.endpoint", "want a collector's address"),
        ("{endpoint: 'http://a', headers: {k: 'env:K'}}", "tracing.endpoint", "want https: the headers are secrets"),
        ("{endpoint: 'https://a', headers: {k: plain}}", "tracing.headers.k", "want file:<path>"),
        ("{endpoint: 'https://a', headers: {host: 'env:K'}}", "tracing.headers.host", "want another header"),
        ("{endpoint: 'http://a', ca: c.pem}", "tracing.ca", "want it only beside an https collector"),
        ("{endpoint: 'http://a', sample: 2}", "tracing.sample", "want a number from 0.0 to 1.0"),
    ] {
        let problems = Config::read(&small_with(TOP, &format!("tracing: {written}\nupstreams:\n"))).unwrap_err();
        let found = problems.iter().any(|it| it.path == path && it.what.contains(what));
        assert!(found, "{written}: {problems:?}");
    }
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_build_without_tracing_says_how_to_get_one_with_it() {
    let problems = Config::read(&small_with(TOP, "tracing: {endpoint: 'http://a:4318'}\nupstreams:\n")).unwrap_err();
    let told: Vec<(&str, bool)> = problems.iter().map(|it| (&*it.path, it.what.contains("--features otel"))).collect();
    assert_eq!(told, [("tracing", true)], "{problems:?}");
}

#[cfg(not(feature = "etcd"))]
#[test]
fn a_build_without_etcd_says_how_to_get_one_with_it() {
    let text = small_with(TOP, "store: {master_key: 'env:K', etcd: {endpoints: ['https://a:1']}}\nupstreams:\n");
    let problems = Config::read(&text).unwrap_err();
    let told: Vec<(&str, bool)> = problems.iter().map(|it| (&*it.path, it.what.contains("--features etcd"))).collect();
    assert_eq!(told, [("store.etcd", true)], "{problems:?}");
}
