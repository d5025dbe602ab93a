//! The stage: a state directory, two upstream servers, a configuration, and the gateway in front.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;

use http::Uri;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::cli::client::Client;
use crate::cli::client::Credential;
use crate::cli::client::Unanswered;
use crate::cli::client::Wire;
use crate::cli::demo::Options;
use crate::cli::demo::face;
use crate::cli::demo::scoring;
use crate::cli::demo::story::Account;
use crate::cli::demo::story::Props;
use crate::cli::keys;
use crate::cli::keys::Owner;
use crate::cli::tokens;
use crate::config::Address;
use crate::model::name::Name;
use crate::model::name::NotAName;
use crate::model::resource::ResourceId;
use crate::model::secret::Secret;
use crate::reload::management_key;
use crate::server::process::Process;
use crate::server::process::StartError;

const WORKSPACE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/demo/providers/Microsoft.MachineLearningServices/workspaces/demo";
const VENDOR: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/demo/providers/Microsoft.CognitiveServices/accounts/door-software";
const CLIENT: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/demo/providers/Microsoft.CognitiveServices/accounts/door-maker";

/// The demonstration, running: the gateway on this runtime, and what the story is told with.
#[derive(Debug)]
pub(super) struct Setting {
    /// What the story is told with.
    pub(super) props: Props,
    /// Ends when the gateway has been told to stop, and has.
    pub(super) running: JoinHandle<()>,
    /// Removed at the end where nobody asked to keep it.
    _state: State,
}

/// A gateway that has started.
struct Stage {
    traffic: SocketAddr,
    management: SocketAddr,
    health: SocketAddr,
    management_key: Secret<String>,
    management_key_file: PathBuf,
    configuration: PathBuf,
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
    /// The gateway, when it was asked for keys and tokens.
    #[error("the gateway could not be asked for the keys and tokens of the story")]
    Unanswered(#[from] Unanswered),
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
    /// Builds the stage and starts the gateway, which runs until `stop` ends. All of it lives on this runtime.
    pub(super) async fn start(options: Options, stop: impl Future<Output = ()> + 'static) -> Result<Self, DemoError> {
        let state = State::open(options.state)?;
        let (scoring, at_scoring) = port().await?;
        let (face, at_face) = port().await?;
        drop(tokio::spawn(scoring::serve(scoring)));
        drop(tokio::spawn(face::serve(face)));
        let file = state.path().join("gateway.yaml");
        let listen = [options.traffic, options.management, options.health];
        let store = state.path().join("store");
        let text = configuration(listen, at_scoring, at_face, &store);
        std::fs::write(&file, text).map_err(|source| DemoError::State { path: file.clone(), source })?;
        let process = Process::start(file.clone()).await?;
        let stage = stage(&process, file, &store)?;
        let running = tokio::task::spawn_local(process.run(stop));
        let props = stage.props().await?;
        Ok(Self { props, running, _state: state })
    }
}

async fn port() -> Result<(TcpListener, SocketAddr), DemoError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::Port)?;
    let address = listener.local_addr().map_err(DemoError::Port)?;
    Ok((listener, address))
}

/// Where the gateway listens, and the key that only its state directory tells.
fn stage(process: &Process, configuration: PathBuf, store: &Path) -> Result<Stage, DemoError> {
    let addresses = process.addresses();
    let tcp = |address: Option<&Address>| match address {
        Some(Address::Tcp(address)) => Ok(*address),
        Some(Address::Unix(_)) | None => Err(DemoError::Unfit),
    };
    let management_key_file = store.join(management_key::FILE);
    let key = std::fs::read_to_string(&management_key_file);
    let key = key.map_err(|source| DemoError::State { path: management_key_file.clone(), source })?;
    Ok(Stage {
        traffic: tcp(addresses.traffic.first())?,
        management: tcp(addresses.management.as_ref())?,
        health: tcp(addresses.health.as_ref())?,
        management_key: Secret::new(key.trim_end().to_owned()),
        // Whoever pastes it is in another directory.
        management_key_file: std::path::absolute(&management_key_file).unwrap_or(management_key_file),
        configuration,
    })
}

impl Stage {
    /// Asks the gateway, which has to be running, for what the story is told with, as the command line does.
    async fn props(self) -> Result<Props, DemoError> {
        let client_of = |at: SocketAddr, credential| -> Result<Client, DemoError> {
            let url: Uri = format!("http://{at}").parse().map_err(|_no_uri| DemoError::Unfit)?;
            Ok(Client::new(&url, &Wire::default(), credential)?)
        };
        let operator = client_of(self.management, Credential::Bearer(self.management_key.clone()))?;
        let account = async |name: &str, resource: &str| -> Result<Account, DemoError> {
            let keys = keys::both(&operator, &Owner::Account(Name::parse(name)?)).await?;
            let resource = ResourceId::parse(resource).map_err(|_not_one| DemoError::Unfit)?;
            Ok(Account { keys, resource })
        };
        let (vendor, client) = (account("door-software", VENDOR).await?, account("door-maker", CLIENT).await?);
        let lender = client_of(self.traffic, Credential::Subscription(vendor.keys.primary.clone()))?;
        let features = ["Face.Identification".to_owned()];
        Ok(Props {
            traffic: format!("http://{}", self.traffic),
            management: format!("http://{}", self.management),
            health: format!("http://{}", self.health),
            workspace: WORKSPACE.to_owned(),
            key_service: keys::both(&operator, &Owner::Service(Name::parse("iris")?)).await?,
            token: tokens::access_token(&operator, &Name::parse("iris-token")?).await?,
            limited_access_token: tokens::issue_limited(&lender, client.resource.as_str(), &features, None).await?,
            management_token: self.management_key,
            vendor,
            client,
            configuration: self.configuration,
            management_key_file: self.management_key_file,
        })
    }
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
    issues_limited_access_tokens: true
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
