//! Calls against a made-up near engine that answers by a script.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use layer2_http::problem::{CONTENT_TYPE, Problem, ProblemKind};
use tokio::net::TcpListener;

use super::super::mix::mix;
use super::super::upstream::ANSWERS;
use super::*;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What the made-up engine does with the next request.
#[derive(Clone, Debug)]
enum Step {
    /// The right answer to the call.
    Right,
    /// The beginning of an answer, and then nothing more.
    Break,
    /// A problem.
    Problem(Problem),
    /// What an operation looks like.
    Operation(&'static str),
}

/// A path asked for, and the operation id in the header, if there was one.
type Seen = (String, Option<String>);

#[derive(Clone, Default)]
struct Engine {
    script: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Engine {
    async fn start(steps: impl IntoIterator<Item = Step>, plan: Plan) -> (Self, SocketAddr) {
        let engine = Self { script: Arc::new(Mutex::new(steps.into_iter().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = engine.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let engine = serving.clone();
                let service = service_fn(move |request| {
                    let response = engine.answer(&request, &plan);
                    async move { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (engine, address)
    }

    fn answer(&self, request: &Request<Incoming>, plan: &Plan) -> Response<Body> {
        let field = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let path = request.uri().path().to_owned();
        let kind = if path.starts_with("/v1/") { path.clone() } else { "call".to_owned() };
        self.seen.lock().unwrap().push((kind, field(OPERATION)));
        let operation = field(OPERATION)
            .or_else(|| path.strip_prefix("/v1/operations/").map(|rest| rest.trim_end_matches("/result").to_owned()))
            .unwrap();
        let step = self.script.lock().unwrap().pop_front().expect("the script has a step for each request");
        let mut response = match step {
            Step::Right => {
                let mut pieces = plan.content.pieces(1);
                Response::new(Full::new(pieces.remove(0)).map_err(|never| match never {}).boxed_unsync())
            }
            Step::Break => {
                let broken = std::io::Error::other("broken");
                let frames = [Ok(Frame::data(Bytes::from_static(b"begin"))), Err(broken)];
                Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
            }
            Step::Problem(problem) => {
                let mut response = full(problem.to_json());
                *response.status_mut() = problem.status.try_into().unwrap();
                response.headers_mut().insert("content-type", CONTENT_TYPE.parse().unwrap());
                return response;
            }
            Step::Operation(text) => return full(text.into()),
        };
        // The upstream's own words: which attempt this answers is the last one that was sent.
        let attempts = self
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|(kind, _)| kind == "call")
            .map(|(_, id)| id.clone())
            .collect::<std::collections::BTreeSet<_>>();
        let marker = field(CALL).unwrap_or_else(|| format!("{}-{}", plan.number, attempts.len() - 1));
        response.headers_mut().insert(ANSWERS, marker.parse().unwrap());
        response.headers_mut().insert(OPERATION, operation.parse().unwrap());
        response
    }

    /// What was asked, with the ids numbered in the order in which they came up.
    fn asked(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let mut name = |id: &str| {
            let place = ids.iter().position(|known| known == id).unwrap_or_else(|| {
                ids.push(id.to_owned());
                ids.len() - 1
            });
            format!("op{place}")
        };
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|(kind, id)| match id {
                Some(id) => format!("call {}", name(id)),
                None => {
                    let rest = kind.trim_start_matches("/v1/operations/");
                    let (id, result) = rest.split_once('/').map_or((rest, ""), |(id, _)| (id, " result"));
                    format!("ask {}{result}", name(id))
                }
            })
            .collect()
    }
}

fn full(content: Vec<u8>) -> Response<Body> {
    Response::new(Full::new(Bytes::from(content)).map_err(|never| match never {}).boxed_unsync())
}

fn plan(kind: Kind) -> Plan {
    mix(2, 60).into_iter().find(|plan| plan.kind == kind).unwrap()
}

fn line(engine: SocketAddr) -> (Line, watch::Sender<bool>) {
    let (sender, near_ready) = watch::channel(true);
    let progress = Arc::new(Progress::default());
    let line = Line {
        client: Client::new(engine, Arc::clone(&progress)),
        upstream: SocketAddr::from(([127, 0, 0, 1], 9)),
        near_ready,
        give_up: CancellationToken::new(),
        progress,
        seed: 1,
    };
    (line, sender)
}

async fn outcome(kind: Kind, steps: impl IntoIterator<Item = Step>) -> (Record, Vec<String>) {
    let plan = plan(kind);
    let (engine, address) = Engine::start(steps, plan).await;
    let (line, _ready) = line(address);
    let record = tokio::time::timeout(Duration::from_secs(20), carry_out(&line, plan)).await.unwrap();
    assert!(engine.script.lock().unwrap().is_empty(), "the call stopped asking too early");
    assert!(record.attempts.iter().all(|attempt| attempt.ended_ms.is_some()));
    (record, engine.asked())
}

fn problem(kind: ProblemKind, executed: Executed) -> Step {
    Step::Problem(Problem::new(kind, "as the script says").executed(executed))
}

#[tokio::test]
async fn a_right_answer_needs_one_attempt() {
    for kind in [Kind::Get, Kind::Echo, Kind::Stream] {
        let (record, asked) = outcome(kind, [Step::Right]).await;
        assert_eq!((record.outcome, asked), (Outcome::Right, vec!["call op0".to_owned()]), "{kind:?}");
    }
}

#[tokio::test]
async fn an_answer_that_broke_off_is_fetched_from_the_operation() {
    let steps = [
        Step::Break,
        Step::Operation("{\"state\":\"sent\",\"result\":false}"),
        Step::Operation("{\"state\":\"response_started\",\"result\":false}"),
        Step::Break,
        Step::Operation("{\"state\":\"done\",\"result\":true}"),
        Step::Right,
    ];
    let (record, asked) = outcome(Kind::Echo, steps).await;
    assert_eq!(record.outcome, Outcome::Right);
    assert_eq!(asked, ["call op0", "ask op0", "ask op0", "ask op0 result", "ask op0", "ask op0 result"]);
    assert_eq!(record.attempts.len(), 1);
}

#[tokio::test]
async fn a_call_that_was_never_accepted_is_sent_again_under_the_same_id() {
    let steps = [Step::Break, problem(ProblemKind::UnknownOperation, Executed::Maybe), Step::Right];
    let (record, asked) = outcome(Kind::Echo, steps).await;
    assert_eq!(record.outcome, Outcome::Right);
    assert_eq!(asked, ["call op0", "ask op0", "call op0"]);
}

#[tokio::test]
async fn a_call_that_was_not_executed_is_made_again_under_a_new_id() {
    for kind in [Kind::Get, Kind::Echo] {
        let steps = [problem(ProblemKind::PeerSilent, Executed::No), Step::Right];
        let (record, asked) = outcome(kind, steps).await;
        assert_eq!(record.outcome, Outcome::Right);
        assert_eq!(asked, ["call op0", "call op1"]);
        assert_eq!(record.attempts.len(), 2);
        assert_ne!(record.attempts[0].operation, record.attempts[1].operation);
    }
}

#[tokio::test]
async fn a_call_that_may_have_been_executed_is_repeated_only_if_its_method_allows() {
    let open = || problem(ProblemKind::OutcomeUnknown, Executed::Maybe);
    let (record, asked) = outcome(Kind::Get, [open(), Step::Right]).await;
    assert_eq!((record.outcome, asked.len()), (Outcome::Right, 2));
    let (record, asked) = outcome(Kind::Echo, [open()]).await;
    assert!(matches!(record.outcome, Outcome::Unknown(_)), "{:?}", record.outcome);
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn an_operation_that_ended_without_a_response_says_whether_to_repeat() {
    let gone = || problem(ProblemKind::ResultGone, Executed::No);
    let (record, asked) = outcome(
        Kind::Echo,
        [
            problem(ProblemKind::WaitOver, Executed::Maybe),
            Step::Operation("{\"state\":\"failed\",\"executed\":\"no\",\"problem\":\"response-incomplete\"}"),
            gone(),
            Step::Right,
        ],
    )
    .await;
    assert_eq!(record.outcome, Outcome::Right);
    assert_eq!(asked, ["call op0", "ask op0", "ask op0 result", "call op1"]);
    let (record, _) = outcome(
        Kind::Echo,
        [
            Step::Break,
            Step::Operation("{\"state\":\"unknown\",\"executed\":\"maybe\",\"problem\":\"outcome-unknown\"}"),
            problem(ProblemKind::OutcomeUnknown, Executed::Maybe),
        ],
    )
    .await;
    assert!(matches!(record.outcome, Outcome::Unknown(_)), "{:?}", record.outcome);
}

#[tokio::test]
async fn a_refusal_is_the_right_answer_to_what_is_to_be_refused() {
    let denied = || problem(ProblemKind::RouteDenied, Executed::No);
    for kind in [Kind::RefusedNear, Kind::RefusedFar] {
        assert_eq!(outcome(kind, [denied()]).await.0.outcome, Outcome::Right);
    }
    assert!(matches!(outcome(Kind::Get, [denied()]).await.0.outcome, Outcome::Wrong(_)));
}

#[tokio::test]
async fn a_call_waits_for_an_engine_that_is_down() {
    let plan = plan(Kind::Get);
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (line, ready) = line(address);
    ready.send_replace(false);
    let call = carry_out(&line, plan);
    tokio::pin!(call);
    tokio::select! {
        record = &mut call => panic!("{record:?}"),
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
    }
    line.give_up.cancel();
    let record = call.await;
    assert!(matches!(record.outcome, Outcome::Lost(_)));
    assert_eq!((record.attempts.len(), record.attempts[0].ended_ms), (1, None));
}

#[test]
fn operations_are_read_as_the_local_api_writes_them() {
    use layer2_http::operation::OperationView;
    let view = OperationView {
        id: OperationId::v7(1, &[1; 10]),
        state: State::Failed,
        method: "GET".into(),
        target: "http://x/".into(),
        route: None,
        peer: String::new(),
        begun_ms: 1,
        ended_ms: None,
        status: None,
        executed: Some(Executed::No),
        problem: Some("peer-silent".into()),
        result: false,
    };
    let text = serde_json::to_vec(&view).unwrap();
    let answer = Answer {
        status: 200,
        headers: http::HeaderMap::new(),
        body: super::super::content::Mark::of(&text),
        beginning: text.into(),
    };
    let read = Operation::read(&answer).unwrap();
    assert!(read.ended && !read.responding && !read.result);
    assert_eq!(read.executed, Executed::No);
    assert!(read.text.contains("peer-silent"));
}
