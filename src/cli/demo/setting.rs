//! The stage: a state directory, two upstream servers, a configuration, and the gateway in front.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;

use tokio::net::TcpListener;

use crate::cli::demo::Options;
use crate::cli::demo::face;
use crate::cli::demo::scoring;
use crate::cli::demo::story::Account;
use crate::cli::demo::story::Props;
use crate::config::Address;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::name::NotAName;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;
use crate::server::process::Process;
use crate::server::process::StartError;
use crate::store::change::ChangeError;
use crate::store::record_key::Owner;
use crate::store::slots::Keys;
use crate::tokens::issue::issue_service_token;
use crate::tokens::limited::LimitedLifetime;
use crate::tokens::limited::Loan;
use crate::tokens::limited::issue_limited_token;
use crate::tokens::signing::SigningFailed;

const WORKSPACE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/demo/providers/Microsoft.MachineLearningServices/workspaces/demo";
const VENDOR: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/demo/providers/Microsoft.CognitiveServices/accounts/door-software";
const CLIENT: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/demo/providers/Microsoft.CognitiveServices/accounts/door-maker";

/// Everything of the demonstration but the gateway itself. Ends with it.
#[derive(Debug)]
pub(super) struct Setting {
    /// What the story is told with.
    pub(super) props: Props,
    /// Removed at the end where nobody asked to keep it.
    _state: State,
}

/// Why there is no demonstration.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// The state directory.
    #[error("{} could not be written", path.display())]
    State {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An upstream's port.
    #[error("a port for the demonstration's own servers could not be had")]
    Port(#[source] std::io::Error),
    /// The gateway.
    #[error("the gateway could not start")]
    Start(#[from] StartError),
    /// A key.
    #[error("the keys could not be read")]
    Keys(#[from] ChangeError),
    /// A token.
    #[error("a token could not be issued")]
    Token(#[from] SigningFailed),
    /// A name of the demonstration's own is none, or stands for nothing.
    #[error("the demonstration's own configuration does not fit the gateway")]
    Unfit,
}

impl From<NotAName> for DemoError {
    fn from(_: NotAName) -> Self {
        Self::Unfit
    }
}

impl Setting {
    /// Builds the stage. The upstream servers live on this runtime.
    pub(super) async fn build(options: Options) -> Result<(Self, Process), DemoError> {
        let state = State::open(options.state)?;
        let (scoring, at_scoring) = port().await?;
        let (face, at_face) = port().await?;
        drop(tokio::spawn(scoring::serve(scoring)));
        drop(tokio::spawn(face::serve(face)));
        let file = state.path().join("gateway.yaml");
        let listen = [options.traffic, options.management, options.health];
        let text = configuration(listen, at_scoring, at_face, &state.path().join("store"));
        std::fs::write(&file, text).map_err(|source| DemoError::State { path: file.clone(), source })?;
        let process = Process::start(file.clone()).await?;
        let props = props(&process, file).await?;
        Ok((Self { props, _state: state }, process))
    }
}

async fn port() -> Result<(TcpListener, SocketAddr), DemoError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::Port)?;
    let address = listener.local_addr().map_err(DemoError::Port)?;
    Ok((listener, address))
}

/// What the story needs to know of a gateway that runs. The tokens are issued here, as the gateway itself would.
async fn props(process: &Process, configuration: PathBuf) -> Result<Props, DemoError> {
    let keys = async |owner: Owner| -> Result<Keys, DemoError> { Ok(process.store().list(&owner).await?) };
    let addresses = process.addresses();
    let url = |address: Option<&Address>| match address {
        Some(Address::Tcp(address)) => Ok(format!("http://{address}")),
        Some(Address::Unix(_)) | None => Err(DemoError::Unfit),
    };
    let (snapshot, config) = (process.snapshot(), process.config());
    let (vendor_name, client_name) = (Name::parse("door-software")?, Name::parse("door-maker")?);
    let vendor = snapshot.account_named(&vendor_name).ok_or(DemoError::Unfit)?;
    let client = snapshot.account_named(&client_name).ok_or(DemoError::Unfit)?;
    let signer = snapshot.own_keys.newest();
    let now = UnixSeconds::now();
    let lifetime = config.tokens.lifetime;
    let issuer = &config.tokens.issuer;
    let token = issue_service_token(signer, issuer, "iris-token", "demo", lifetime, now)?;
    let management = issue_service_token(signer, issuer, "urn:scoregate:management", "demo", lifetime, now)?;
    let loan = Loan {
        isv: &vendor.name,
        isv_resource: &vendor.resource,
        target: &client.resource,
        flags: flag(&snapshot.features, "Face.Identification"),
        lifetime: LimitedLifetime::DEFAULT,
    };
    let limited = issue_limited_token(signer, issuer, &loan, &snapshot.features, now)?;
    Ok(Props {
        traffic: url(addresses.traffic.first())?,
        management: url(addresses.management.as_ref())?,
        health: url(addresses.health.as_ref())?,
        workspace: WORKSPACE.to_owned(),
        management_token: management.jwt,
        key_service: keys(Owner::Service(Name::parse("iris")?)).await?,
        token: token.jwt,
        vendor: Account { keys: keys(Owner::Account(vendor_name)).await?, resource: resource(VENDOR)? },
        client: Account { keys: keys(Owner::Account(client_name)).await?, resource: resource(CLIENT)? },
        limited_access_token: limited.jwt,
        configuration,
    })
}

fn resource(text: &str) -> Result<ResourceId, DemoError> {
    ResourceId::parse(text).map_err(|_not_one| DemoError::Unfit)
}

fn flag(names: &crate::model::feature::FeatureNames, flag: &str) -> FeatureSet {
    names.find(flag).unwrap_or(FeatureSet::EMPTY)
}

fn configuration(listen: [SocketAddr; 3], scoring: SocketAddr, face: SocketAddr, store: &Path) -> String {
    let [traffic, management, health] = listen;
    let store = store.display();
    format!(
        "\
# Written by `scoregate demo`. gateway.yaml in the repository explains each part.
listeners:
  traffic: [{{address: \"{traffic}\"}}]
  management: {{address: \"{management}\"}}
  health: {{address: \"{health}\"}}
store: {{directory: \"{store}\"}}
workspace: {WORKSPACE}
access_log: off
shutdown: {{delay: 0s, deadline: 5s}}
upstreams:
  scoring: {{endpoints: [\"http://{scoring}\"]}}
  face: {{endpoints: [\"http://{face}\"]}}
accounts:
  # The vendor of a door system, who may lend the flag of identification to its customers.
  door-software:
    resource: {VENDOR}
    may_issue: [Face.Identification]
  # A customer, who holds no flag of its own.
  door-maker:
    resource: {CLIENT}
services:
  iris:
    upstream: scoring
    auth: {{key: {{}}}}
  iris-token:
    upstream: scoring
    auth: {{token: {{issuers: [own]}}}}
  face:
    match: [{{prefix: /face}}]
    upstream: face
    auth: {{key: {{keys: none, accounts: [door-software, door-maker]}}}}
    features: {{preset: face}}
"
    )
}

/// Where the demonstration keeps things.
#[derive(Debug)]
enum State {
    /// In a directory that somebody chose.
    Kept(PathBuf),
    /// In one of its own, which goes with it.
    Passing(PathBuf),
}

impl State {
    fn open(chosen: Option<PathBuf>) -> Result<Self, DemoError> {
        let state = match chosen {
            Some(path) => Self::Kept(path),
            None => Self::Passing(std::env::temp_dir().join(format!("scoregate-demo-{}", std::process::id()))),
        };
        let path = state.path().to_owned();
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| DemoError::State { path, source })?;
        Ok(state)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) | Self::Passing(path) => path,
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        match self {
            Self::Kept(_) => {}
            // What cannot be removed is left to whoever cleans the temporary directory.
            Self::Passing(path) => drop(std::fs::remove_dir_all(path)),
        }
    }
}
