//! A real etcd that speaks TLS in a network namespace of its own, and cables to it: what is sent over one that is cut is
//! lost without a word. Only root may lay a cable; for others there are wires, which break every connection when cut.

use std::fs;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use tempfile::TempDir;

use super::etcd::Etcd;
use super::etcd::Wire;
use super::eventually;
use super::gateway::free_address;

/// Most cables to one island.
const CABLES: usize = 8;

/// Becomes the rest, where nothing but its own loopback is reached.
const APART: [&str; 6] = ["unshare", "-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];

/// The name in its certificate.
const NAME: &str = "etcd.test";

/// A running etcd, and the ways to it.
#[derive(Debug)]
pub(crate) struct Island<const N: usize> {
    pub(crate) etcd: Etcd,
    pub(crate) ways: [Way; N],
    files: TempDir,
}

impl<const N: usize> Island<N> {
    /// Starts one, and lays the ways.
    pub(crate) fn start() -> Self {
        let files = tempfile::tempdir().expect("a temporary directory can be made");
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate can be made");
        let [certificate, key] = ["etcd.crt", "etcd.key"].map(|name| files.path().join(name));
        fs::write(&certificate, made.cert.pem()).expect("it can be written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("it can be written");
        let [certificate, key] = [&certificate, &key].map(|path| path.to_str().expect("a name in UTF-8"));

        let is_root = fs::metadata("/proc/self").expect("Linux tells who we are").uid() == 0;
        let (program, at): (&[&str], _) =
            if is_root { (&APART, Ipv4Addr::UNSPECIFIED) } else { (&[], Ipv4Addr::LOCALHOST) };
        // The test itself asks without TLS.
        let (plain, secret) = (free_address(), free_address());
        let urls = format!("http://{at}:{},https://{at}:{}", plain.port(), secret.port());
        let advertised = format!("https://{NAME}:{}", secret.port());
        let listening = ["etcd", "--listen-client-urls", &urls, "--advertise-client-urls", &advertised];
        let identity = ["--cert-file", certificate, "--key-file", key];
        let mut etcd = Etcd::new(plain, &[program, &listening, &identity].concat());
        let process = etcd.spawn();
        let ways = if is_root {
            etcd.move_to(Cable::lay(process, CABLES - 1).far.into());
            std::array::from_fn(|number| Way::Cable(Cable::lay(process, number), secret.port()))
        } else {
            std::array::from_fn(|_| Way::Wire(Wire::to(secret)))
        };
        etcd.wait();
        Self { etcd, ways, files }
    }

    /// How a configuration names the etcd at the end of a way.
    pub(crate) fn settings(&self, way: &Way) -> String {
        let ca = self.files.path().join("etcd.crt");
        format!("{{endpoints: ['https://{}'], tls: {{ca: {}, server_name: {NAME}}}}}", way.address(), ca.display())
    }
}

/// A way to an etcd that can be cut.
#[derive(Debug)]
pub(crate) enum Way {
    /// And the port at its far end.
    Cable(Cable, u16),
    Wire(Wire),
}

impl Way {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Cable(cable, port) => (cable.far, *port).into(),
            Self::Wire(wire) => wire.address(),
        }
    }

    /// Lets nothing through.
    pub(crate) fn cut(&self) {
        match self {
            Self::Cable(cable, _) => cable.turn("down"),
            Self::Wire(wire) => wire.cut(),
        }
    }

    /// Lets everything through again.
    pub(crate) fn mend(&self) {
        match self {
            Self::Cable(cable, _) => cable.turn("up"),
            Self::Wire(wire) => wire.mend(),
        }
    }
}

/// A pair of interfaces, one in our namespace and one in another's. Both are gone when its last process is.
#[derive(Debug)]
pub(crate) struct Cable {
    process: u32,
    name: String,
    far: Ipv4Addr,
}

impl Cable {
    /// To the namespace of a process. Each cable of each process has four addresses of the block for tests of network
    /// devices (RFC 2544).
    fn lay(process: u32, number: usize) -> Self {
        let [ours, its] = ["self".to_owned(), process.to_string()].map(|whose| format!("/proc/{whose}/ns/net"));
        eventually("it has left our namespace", || {
            (fs::read_link(&ours).ok()? != fs::read_link(&its).ok()?).then_some(())
        });
        let block = (process as usize * CABLES + number) % (1 << 15) * 4;
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + u32::try_from(block).expect("it is below 2^17");
        let [near, far] = [first + 1, first + 2].map(Ipv4Addr::from);
        let name = format!("sg{process}-{number}");
        let cable = Self { process, name, far };
        let name = &cable.name;
        ip(&format!("link add {name} type veth peer name {name} netns {process}"));
        ip(&format!("address add {near}/30 dev {name}"));
        ip(&format!("link set {name} up"));
        cable.inside(&format!("address add {far}/30 dev {name}"));
        cable.turn("up");
        cable
    }

    /// Turns the far end up or down. The near one stays up, so that nothing takes another route.
    fn turn(&self, state: &str) {
        self.inside(&format!("link set {} {state}", self.name));
    }

    fn inside(&self, arguments: &str) {
        run(Command::new("nsenter").args(["-t", &self.process.to_string(), "-n", "ip"]).args(arguments.split(' ')));
    }
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}

fn run(command: &mut Command) {
    let output = command.output().expect("ip and nsenter are there: tests/run features installs them");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
