//! etcd, driven the same way, for comparison: its own three nodes on the same disk, without TLS.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// A put, as etcd's `rpc.proto` has it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutAnswer {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// Running nodes; dropped, they are gone.
pub(crate) struct Etcd {
    nodes: Vec<Child>,
    addresses: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Etcd {
    /// Starts so many nodes, if there is an etcd; ports are of this process.
    pub(crate) async fn start(count: usize) -> Option<Self> {
        let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
        found.ok().filter(std::process::ExitStatus::success)?;
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
        let members: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(number, (_, peer))| format!("n{number}=http://127.0.0.1:{peer}"))
            .collect();
        let nodes = ports
            .iter()
            .enumerate()
            .map(|(number, ports)| node(folder.path(), number, *ports, &members.join(",")));
        let nodes = nodes.collect();
        let addresses = ports.iter().map(|(client, _)| format!("http://127.0.0.1:{client}"));
        let etcd = Self { nodes, addresses: addresses.collect(), _folder: folder };
        // A put is answered once there is a leader.
        for _ in 0..600 {
            if let Some(leader) = etcd.leader().await
                && let Ok(mut client) = etcd.connect(leader).await
                && client.put(b"ready", b"").await
            {
                return Some(etcd);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    /// The node that leads, as our clients too go to the manager that does.
    pub(crate) async fn leader(&self) -> Option<usize> {
        for index in 0..self.addresses.len() {
            if let Ok(mut client) = self.connect(index).await
                && client.leads().await
            {
                return Some(index);
            }
        }
        None
    }

    /// A connection of its own to one of the nodes.
    pub(crate) async fn connect(&self, index: usize) -> Result<Client, tonic::transport::Error> {
        let address = self.addresses[index].clone();
        Ok(Client(Endpoint::from_shared(address)?.tcp_nodelay(true).connect().await?))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill().unwrap();
            node.wait().unwrap();
        }
    }
}

/// A connection that any number of clients share.
#[derive(Clone)]
pub(crate) struct Client(Channel);

impl Client {
    /// Puts a value; true once it is durable.
    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> bool {
        let put = Put { key: key.to_vec(), value: value.to_vec() };
        self.call::<_, PutAnswer>("/etcdserverpb.KV/Put", put).await.is_some()
    }

    async fn leads(&mut self) -> bool {
        let path = "/etcdserverpb.Maintenance/Status";
        let status = self.call::<_, StatusAnswer>(path, StatusRequest {}).await.unwrap_or_default();
        let member_id = status.header.map_or(0, |header| header.member_id);
        member_id != 0 && member_id == status.leader
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Option<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.ok()?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        let answer = grpc.unary(tonic::Request::new(request), path, codec).await;
        answer.ok().map(tonic::Response::into_inner)
    }
}

fn node(folder: &Path, number: usize, (client, peer): (u16, u16), members: &str) -> Child {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    Command::new("etcd")
        .args(["--name", &format!("n{number}"), "--data-dir"])
        .arg(folder.join(number.to_string()))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", members, "--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
