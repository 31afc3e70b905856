//! What probes and hooks do: run a command, ask over HTTP, gRPC or TCP.
//!
//! Invariant: a pod's handlers reach that pod alone. A `host` that a tenant wrote could name anything that the node
//! reaches, so that only pods in the node's own network, which see all of it anyway, may name one.

mod grpc;
mod http;

use crate::cri::{CriError, Runtime};
use crate::pod::{Container, Handler, PortRef};
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Which container a handler is for.
pub struct Target {
    pub runtime: Runtime,
    pub container_id: String,
    pub ip: Option<IpAddr>,
    /// Whether the pod is in the node's own network.
    pub host_network: bool,
}

impl Target {
    /// Does what the handler says, within `timeout`. `Err` is a sentence for users.
    pub async fn run(&self, container: &Container, handler: &Handler, timeout: Duration) -> Result<(), String> {
        match tokio::time::timeout(timeout, self.act(container, handler, timeout)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("timed out after {}s", timeout.as_secs())),
        }
    }

    async fn act(&self, container: &Container, handler: &Handler, timeout: Duration) -> Result<(), String> {
        if let Some(exec) = &handler.exec {
            self.exec(&exec.command, timeout).await
        } else if let Some(get) = &handler.http_get {
            let (ip, port) = (self.host(&get.host)?, port(container, &get.port)?);
            http::get(ip, port, get).await
        } else if let Some(tcp) = &handler.tcp_socket {
            let (ip, port) = (self.host(&tcp.host)?, port(container, &tcp.port)?);
            self::dial(ip, port).await.map(drop)
        } else if let Some(grpc) = &handler.grpc {
            let port = u16::try_from(grpc.port).map_err(|_| format!("{} is no port", grpc.port))?;
            grpc::check(self.host("")?, port, &grpc.service).await
        } else if let Some(sleep) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds)).await;
            Ok(())
        } else {
            Err("missing probe handler".to_owned())
        }
    }

    async fn exec(&self, command: &[String], timeout: Duration) -> Result<(), String> {
        let answer = self.runtime.exec_sync(&self.container_id, command, timeout).await;
        let answer = answer.map_err(|CriError { message, .. }| message)?;
        if answer.exit_code == 0 {
            return Ok(());
        }
        let output = [answer.stdout, answer.stderr].concat();
        Err(String::from_utf8_lossy(&output[..output.len().min(http::BODY_BYTES_SHOWN)]).into_owned())
    }

    fn host(&self, named: &str) -> Result<IpAddr, String> {
        let own = self.ip.ok_or("the pod has no address yet")?;
        if named.is_empty() || named.parse() == Ok(own) {
            Ok(own)
        } else if self.host_network {
            named.parse().map_err(|_| format!("host {named:?} is not an address"))
        } else {
            Err(format!("host {named:?} is not the pod's own address {own}: handlers reach only their own pod"))
        }
    }
}

fn port(container: &Container, port: &PortRef) -> Result<u16, String> {
    let number = match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => container.port_named(name).or_else(|| name.parse().ok()),
    };
    number.filter(|&p| p > 0).ok_or_else(|| format!("couldn't find port: {port:?}"))
}

async fn dial(ip: IpAddr, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((ip, port)).await.map_err(|e| {
        let address = std::net::SocketAddr::new(ip, port);
        format!("dial tcp {address}: connect: {e}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn target(host_network: bool) -> Target {
        let endpoint = crate::RuntimeEndpoint {
            name: "none".into(),
            workload: crate::Workload::Container,
            socket: "/nonexistent/c.sock".into(),
        };
        let runtime = Runtime::at(&endpoint);
        Target { runtime, container_id: "c".into(), ip: Some([127, 0, 0, 1].into()), host_network }
    }

    async fn run(handler: Value) -> Result<(), String> {
        let handler: Handler = serde_json::from_value(handler).expect("a handler");
        let container =
            serde_json::from_value(json!({"ports": [{"name": "web", "containerPort": 1}]})).expect("a container");
        target(false).run(&container, &handler, Duration::from_secs(5)).await
    }

    /// Answers one connection with `answer`; the port, and what was asked.
    async fn serve(answer: &'static str) -> (u16, impl Future<Output = String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("written");
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        (port, asked)
    }

    #[tokio::test]
    async fn an_answer_below_400_is_a_success() {
        let (port, asked) =
            serve("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n").await;
        let headers = json!([{"name": "X-A", "value": "b"}, {"name": "Host", "value": "example.org"}]);
        let get = run(json!({"httpGet": {"path": "/ok?x=1", "port": port, "httpHeaders": headers}}));
        let (result, asked) = tokio::join!(get, asked);
        assert_eq!(result, Ok(()));
        let asked = asked.to_lowercase();
        assert!(asked.starts_with("get /ok?x=1 http/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("host: example.org\r\n") && asked.contains("x-a: b") && asked.contains("kube-probe/"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn an_answer_of_500_is_a_failure() {
        let (port, asked) = serve("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno").await;
        let (result, _) = tokio::join!(run(json!({"httpGet": {"port": port}})), asked);
        assert_eq!(result, Err("HTTP probe failed with statuscode: 500".to_owned()));
    }

    #[tokio::test]
    async fn nobody_at_a_port_is_a_failure() {
        let failure = run(json!({"tcpSocket": {"port": "web"}})).await.expect_err("nobody listens there");
        assert!(failure.starts_with("dial tcp 127.0.0.1:1: connect: "), "{failure}");
        assert!(run(json!({"tcpSocket": {"port": "other"}})).await.is_err());
    }

    #[tokio::test]
    async fn a_handler_reaches_only_its_own_pod() {
        for host in ["192.0.2.1", "localhost", "169.254.169.254"] {
            let refused = run(json!({"httpGet": {"host": host, "port": 1}})).await.expect_err("another host");
            assert!(refused.contains("handlers reach only their own pod"), "{refused}");
        }
        assert_eq!(target(true).host("192.0.2.1"), Ok([192, 0, 2, 1].into()));
    }

    #[tokio::test]
    async fn a_health_service_is_asked_over_grpc() {
        let answers = [(1, Ok(())), (2, Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()))];
        for (status, expected) in answers {
            let (port, served) = grpc::tests::serve_one(status).await;
            let (result, service) = tokio::join!(run(json!({"grpc": {"port": port, "service": "web"}})), served);
            assert_eq!((result, service.as_str()), (expected, "web"));
        }
    }
}
