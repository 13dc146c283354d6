//! What goes wrong between the host and the agent, a guest's breaches of the protocol among it.

use std::io;
use std::time::Duration;

use isopod_contract::message::AppIndex;
use isopod_protocol::codec::ReadMessageError;
use isopod_protocol::handshake::HandshakeError;
use isopod_protocol::mux::{MuxError, OpenError};

/// Why there is no conversation with the agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No sign of the agent in time.
    #[error("the agent did not answer within {} s", .after.as_secs_f32())]
    Silent {
        /// How long it had.
        after: Duration,
    },
    /// The greeting failed.
    #[error("cannot greet the agent")]
    Handshake(#[source] HandshakeError),
    /// The control stream could not be opened.
    #[error("cannot open the control stream")]
    Control(#[source] OpenError),
    /// The agent, or the VM, is gone.
    #[error("the connection to the agent has ended")]
    Ended,
    /// The port failed, or the guest broke the rules of the multiplexer.
    #[error("the connection to the agent is lost")]
    Lost(#[source] MuxError),
    /// A message could not be read.
    #[error("the agent sent an unreadable message")]
    Message(#[source] ReadMessageError),
    /// The guest said what it must not say.
    #[error("the agent broke the protocol: {0}")]
    Breach(Breach),
    /// No randomness for the greeting.
    #[error("cannot read random bytes")]
    Random(#[source] io::Error),
}

impl AgentError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Silent { .. } | Self::Ended | Self::Lost(_) => {
                Some("the guest's console log says how far the VM came".to_owned())
            }
            Self::Handshake(HandshakeError::Version { .. }) => {
                Some("the guest image contains the agent of another build: build the image again".to_owned())
            }
            _ => None,
        }
    }
}

/// Why a stream to the agent was not opened.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The agent says nothing.
    #[error("the agent in the guest has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// The agent did not take it.
    #[error("the agent in the guest did not answer")]
    Ended,
    /// The agent's first word is none.
    #[error("cannot read the answer of the agent in the guest")]
    Answer(#[source] ReadMessageError),
}

/// Why something did not come to the VM.
#[derive(Debug, thiserror::Error)]
pub enum ArriveError {
    /// There have been as many apps as there are numbers for.
    #[error("the pod has had {} apps, and no more fit", AppIndex::MAX)]
    TooManyApps,
    /// The stream could not be opened.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Its files could not be read.
    #[error("cannot read the files for the VM")]
    Read(#[source] io::Error),
    /// No randomness for the guest.
    #[error("cannot read random bytes")]
    Random(#[source] io::Error),
    /// They could not be sent.
    #[error("cannot send the guest its files")]
    Send(#[source] io::Error),
    /// The conversation has ended.
    #[error("the connection to the agent has ended")]
    Ended,
    /// The agent's answer is none.
    #[error("cannot read the answer of the agent in the guest")]
    Answer(#[source] ReadMessageError),
    /// The guest has not taken it.
    #[error("{0}")]
    Failed(String),
}

/// A breach of the protocol by the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// It names an app that the pod does not have.
    #[error("it named app {app} in a pod of {apps} apps")]
    NoSuchApp {
        /// The number it names.
        app: usize,
        /// How many apps there are.
        apps: usize,
    },
    /// It opened a second stream of the same kind.
    #[error("app {app} has two streams for its {stream}")]
    SecondStream { app: usize, stream: &'static str },
    /// It said something at the wrong time, or twice.
    #[error("`{message}` came out of turn")]
    OutOfTurn { message: &'static str },
}
