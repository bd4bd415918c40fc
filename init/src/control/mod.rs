//! The control socket: how a person or a script asks PID 1 about services and tells it what to do.
//!
//! [`protocol`] is the language, [`server`] PID 1's end of the connections; the command `initctl` is the other end. What the
//! requests mean for services is the supervisor's, which implements [`Operations`].

mod client;
pub(crate) mod server;

use crate::event::reactor::Reactor;
use crate::logs::Logs;
use crate::sys::system::Power;

pub use init_base::protocol::{self, Action, Code, Health, Kind, Refusal, SOCKET, Span, Summary};
pub use server::Server;

/// Whether an action has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The service is as was asked: ready, stopped, told.
    Done,
    /// It is on the way.
    Pending,
}

/// What the server asks of its surroundings: the supervisor.
pub trait Operations {
    /// Where connections are waited for.
    fn reactor(&mut self) -> &mut Reactor;
    /// The logs of the services; a stream has its service's name.
    fn logs(&self) -> &Logs;
    /// All services, in the order in which they are to be shown.
    fn list(&self) -> Vec<Summary>;
    /// The service `name` and more about it: key and value.
    fn status(&self, name: &str) -> Option<(Summary, Vec<(&'static str, String)>)>;
    /// Begins an action.
    ///
    /// # Errors
    /// When it cannot even begin.
    fn begin(&mut self, action: Action, name: &str) -> Result<Progress, Refusal>;
    /// How far an action is that was begun. It is asked once a turn.
    ///
    /// # Errors
    /// When it ended otherwise than was asked: the service failed, went away, was told something else.
    fn progress(&self, action: Action, name: &str) -> Result<Progress, Refusal>;
    /// Reads the tables again, as SIGHUP asks; returns what changed, in a few words.
    ///
    /// # Errors
    /// When the tables stay as they were.
    fn reload_tables(&mut self) -> Result<String, Refusal>;
    /// Brings the system down, soon after this call.
    ///
    /// # Errors
    /// When it is going down already.
    fn power(&mut self, power: Power) -> Result<(), Refusal>;
    /// The times of the boot and of the services, by their starts.
    fn spans(&self) -> Vec<Span>;
}
