//! Exec, attach and port-forward, with kubectl in both of its protocols.

use crate::cluster::Cluster;
use crate::front::Upgrades;
use crate::node::{Node, SOON, WAIT, shell, skipped};
use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use kit::Containerd;
use node_agent::NodeServer;
use runtime::Tasks;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::process::Command;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// What a client saw, by channel, and the Status at the end.
#[derive(Default)]
pub struct Seen {
    pub stdout: String,
    pub stderr: String,
    pub status: Value,
}

/// Runs a command over WebSocket, without input.
pub async fn run(server: &NodeServer, path: String) -> Seen {
    speak(server, &path, "v5.channel.k8s.io", &[]).await
}

type Socket = WebSocketStream<DuplexStream>;

/// Sends messages over WebSocket and reads until the other end closes.
async fn speak(server: &NodeServer, path: &str, protocol: &'static str, messages: &[&[u8]]) -> Seen {
    let (tasks, mut seen) = (Tasks::new(), Seen::default());
    let mut socket = open(server, path, protocol, &tasks).await;
    for message in messages {
        socket.send(Message::Binary(message.to_vec().into())).await.expect("sent");
    }
    while hear(&mut socket, &mut seen).await {}
    seen
}

async fn open(server: &NodeServer, path: &str, protocol: &'static str, tasks: &Tasks) -> Socket {
    let (near, far) = tokio::io::duplex(64 << 10);
    let server = server.clone();
    tasks.spawn("node", async move { server.serve(far).await });
    let mut request = format!("ws://node{path}").into_client_request().expect("a request");
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    let (socket, answer) = tokio_tungstenite::client_async(request, near).await.expect("an upgrade");
    assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], protocol);
    socket
}

/// Takes in one more message. False when the other end has closed.
async fn hear(socket: &mut Socket, seen: &mut Seen) -> bool {
    let Some(Ok(message)) = socket.next().await else { return false };
    let Message::Binary(bytes) = message else { return true };
    let text = String::from_utf8_lossy(&bytes[1..]);
    match bytes[0] {
        1 => seen.stdout.push_str(&text),
        2 => seen.stderr.push_str(&text),
        3 => seen.status = serde_json::from_slice(&bytes[1..]).expect("a Status"),
        other => panic!("channel {other}"),
    }
    true
}

async fn one_pod() -> (Containerd, Node) {
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    let reads = "while read -r line; do echo \"got $line\"; done";
    let mut attached = shell("attached", &format!("{reads}; {WAIT}"));
    attached["stdin"] = json!(true);
    let web = json!({"name": "web", "image": "ursa.local/web:1", "imagePullPolicy": "IfNotPresent"});
    cluster.run_pod("acme", "web", json!({"containers": [web, attached]}));
    node.ready("acme", "web").await;
    (containerd, node)
}

#[tokio::test]
async fn a_websocket_client_gets_streams_exit_codes_and_half_close() {
    if skipped() {
        return;
    }
    let (_containerd, node) = one_pod().await;
    let path = |rest: &str| format!("/exec/acme/default/web/web?{rest}");
    let seen =
        run(&node.server, path("command=sh&command=-c&command=echo+out;echo+err+%3E%262;exit+7&stdout=1&stderr=1"))
            .await;
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!((&seen.status["status"], &seen.status["reason"]), (&json!("Failure"), &json!("NonZeroExitCode")));
    assert_eq!(seen.status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "7"}));

    // Without half-close, `cat` would never end.
    let cat = path("command=cat&stdin=1&stdout=1");
    let seen = speak(&node.server, &cat, "v5.channel.k8s.io", &[b"\0hello ", b"\0there", &[255, 0]]).await;
    assert_eq!((seen.stdout.as_str(), &seen.status["status"]), ("hello there", &json!("Success")));

    // The size and the output take different ways: the size is sent once the shell waits for it.
    let waits = "trap+'stty+size;kill+$!;exit'+WINCH;echo+ready;while+:;do+sleep+1000%26wait;done";
    let sizes = path(&format!("command=sh&command=-c&command={waits}&stdin=1&stdout=1&tty=1"));
    let (tasks, mut seen) = (Tasks::new(), Seen::default());
    let mut socket = open(&node.server, &sizes, "v4.channel.k8s.io", &tasks).await;
    let resized = async {
        while !seen.stdout.contains("ready") && hear(&mut socket, &mut seen).await {}
        let resize = [b"\x04".as_slice(), br#"{"Width":100,"Height":40}"#].concat();
        socket.send(Message::Binary(resize.into())).await.expect("sent");
        while hear(&mut socket, &mut seen).await {}
    };
    tokio::time::timeout(SOON, resized).await.expect("the shell hears of its size");
    assert_eq!(seen.stdout, "ready\r\n40 100\r\n");

    let large = path("command=head&command=-c&command=3000000&command=/dev/zero&stdout=1");
    assert_eq!(run(&node.server, large).await.stdout.len(), 3_000_000);
    node.stop().await;
}

#[tokio::test]
async fn requests_that_cannot_be_served_are_refused_with_a_status() {
    if skipped() {
        return;
    }
    let (_containerd, node) = one_pod().await;
    let cases = [
        ("/exec/other/default/web/web?command=id&stdout=1", 404, "pods \"web\" not found"),
        ("/exec/acme/default/web/none?command=id&stdout=1", 400, "container none is not valid for pod web"),
        ("/exec/acme/default/web/web?command=id", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("/exec/acme/default/web/web?stdout=1", 400, "you must specify at least 1 command to execute"),
        ("/exec/acme/default/web/web?command=id&stdout=1", 400, "Upgrade request required"),
        ("/exec/acme/default/web/web?command=%zz", 400, "\"%zz\" is not a valid query"),
        ("/containerLogs/acme/default/web/none", 400, "container none is not valid for pod web"),
        ("/containerLogs/all/default/web/web", 400, "\"all\" is not a valid tenant name"),
        (
            "/containerLogs/acme/default/web/web?previous=1",
            400,
            "previous terminated container \"web\" in pod \"web\" not found",
        ),
        ("/portForward/acme/default/none", 404, "pods \"none\" not found"),
        ("/nothing", 404, "the server could not find the requested resource"),
    ];
    for (path, code, message) in cases {
        let (found, body) = crate::front::get(&node.server, path).await;
        let status: Value = serde_json::from_str(&body).expect("a Status");
        assert_eq!((found, status["message"].as_str()), (code, Some(message)), "{path}");
    }
    assert_eq!(crate::front::get(&node.server, "/healthz").await, (200, "ok".to_owned()));
    node.stop().await;
}

/// The first kubectl that speaks WebSocket, for exec, attach and port-forward alike.
const WEBSOCKET_SINCE: u32 = 31;

/// The minor version of kubectl 1.
async fn minor_version() -> u32 {
    let mut command = Command::new(kit::Kubectl::program());
    let printed = command.args(["version", "--client", "-o", "json"]).output().await.expect("kubectl starts").stdout;
    let version: Value = serde_json::from_slice(&printed).expect("a version");
    let minor = version["clientVersion"]["minor"].as_str().expect("a minor version");
    minor.trim_end_matches('+').parse().expect("a number")
}

/// kubectl against a front of tenant `acme`, over WebSocket or over SPDY.
fn kubectl(address: SocketAddr, websocket: bool, args: &[&str]) -> Command {
    let mut command = Command::new(kit::Kubectl::program());
    let value = websocket.to_string();
    command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", &value).env("KUBECTL_PORT_FORWARD_WEBSOCKETS", &value);
    command.env("HOME", "/nonexistent").env_remove("KUBECONFIG").kill_on_drop(true);
    command.args(["--server", &format!("http://{address}"), "--cache-dir", "/dev/null/none"]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(mut command: Command, input: &str) -> (Option<i32>, String, String) {
    let mut child = command.spawn().expect("kubectl starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).await.expect("written");
    drop(stdin);
    let output = child.wait_with_output().await.expect("kubectl ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn kubectl_execs_attaches_and_forwards_in_both_of_its_protocols() {
    if skipped() {
        return;
    }
    let (_containerd, node) = one_pod().await;
    let tasks = Tasks::new();
    let upgrades = Upgrades::default();
    let address = crate::front::serve(&node.cluster, &node.server, "acme", &upgrades, &tasks).await;
    let minor = minor_version().await;
    for websocket in [true, false] {
        if websocket && minor < WEBSOCKET_SINCE {
            println!("skipped: kubectl 1.{minor} does not speak WebSocket");
            continue;
        }
        let script = "cat; echo err >&2; exit 5";
        let exec = kubectl(address, websocket, &["exec", "-i", "web", "-c", "web", "--", "sh", "-c", script]);
        let (code, stdout, stderr) = output(exec, "through stdin\n").await;
        assert_eq!((code, stdout.as_str()), (Some(5), "through stdin\n"), "{stderr}");
        assert!(stderr.starts_with("err\n"), "{stderr}");

        let mut attach = kubectl(address, websocket, &["attach", "-i", "web", "-c", "attached"]);
        let mut child = attach.spawn().expect("kubectl starts");
        child.stdin.as_mut().expect("a pipe").write_all(b"one\n").await.expect("written");
        let mut lines = BufReader::new(child.stdout.as_mut().expect("a pipe")).lines();
        assert_eq!(lines.next_line().await.expect("a line").as_deref(), Some("got one"), "websocket: {websocket}");

        let mut forward =
            kubectl(address, websocket, &["port-forward", "web", ":8080"]).spawn().expect("kubectl starts");
        let mut lines = BufReader::new(forward.stdout.as_mut().expect("a pipe")).lines();
        let line = lines.next_line().await.expect("a line").expect("where it listens");
        let local = line.split_whitespace().find_map(|word| word.parse::<SocketAddr>().ok()).expect("an address");
        for _ in 0..2 {
            let mut stream = tokio::net::TcpStream::connect(local).await.expect("it listens");
            stream.write_all(b"GET /cgi-bin/index.cgi HTTP/1.0\r\n\r\n").await.expect("written");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.contains("This is web 1 in pod web."), "{answer}");
        }
        let wanted = if websocket { "websocket" } else { "spdy/3.1" };
        assert_eq!(upgrades.take(), [wanted; 3], "exec, attach and port-forward");
    }
    node.stop().await;
}
