//! A code that was right in Redis, with the requests for it.

use domain::event::Profile;
use domain::ids::RequestId;
use domain::trace_context::TraceContext;
use domain::vocabulary::Channel;
use store::{Matched, RequestNote};

use crate::app::App;

/// The database has the last word on it: its fence, its counts, its waits.
pub(crate) struct MatchedCode {
    pub code: Matched,
    /// The request that the check named.
    pub named: Option<RequestId>,
}

impl MatchedCode {
    /// The request that this sign-in answers: the one it names, or the newest (contract, ruling 21). A call that
    /// followed a text automatically does not count as a request.
    pub fn answered(&self) -> Option<RequestId> {
        let newest =
            || self.code.code_requests.iter().rev().find(|request| !self.followed_a_text(request));
        self.named.or_else(|| newest().map(|(request, _)| *request))
    }

    /// The trace that the answered request began, if it is recorded.
    pub fn trace(&self) -> Option<TraceContext> {
        let answered = self.answered()?;
        let (_, note) = self.code.code_requests.iter().find(|(request, _)| *request == answered)?;
        TraceContext::from_header(note.trace.as_deref()?)
    }

    fn followed_a_text(&self, (request, note): &(RequestId, RequestNote)) -> bool {
        let texted = |(other, _): &(RequestId, RequestNote)| other.of_its_call() == *request;
        note.channel == Channel::Voice && self.code.code_requests.iter().any(texted)
    }

    /// The profile for a new account: the named request's, or, if none is named, the one that all requests of this code
    /// carry. So an attacker cannot plant a name on another person's number, whose own request carries none (contract,
    /// ruling 47).
    pub fn profile(&self, app: &App) -> Option<Profile> {
        let profile = |(request, note): &(RequestId, RequestNote)| {
            let bound = ["profile", &self.code.code_id.to_string(), &request.to_string()];
            app.engines.keys.event.open(note.profile.as_ref()?, &bound).ok()
        };
        self.agreed(profile)
    }

    /// The locale for a new account, chosen like its [profile](Self::profile), or English (contract, rulings 22 and 47):
    /// an attacker must not choose the language of the warnings to another person's number.
    pub fn locale(&self) -> String {
        self.agreed(|(_, note)| note.locale.clone()).unwrap_or_else(|| "en".to_owned())
    }

    /// What the named request says, or, if none is named, what all requests of this code say.
    fn agreed<T: PartialEq>(
        &self,
        said: impl Fn(&(RequestId, RequestNote)) -> Option<T>,
    ) -> Option<T> {
        let meant = |of: &&(RequestId, RequestNote)| {
            self.named.is_none_or(|named| named == of.0) && !self.followed_a_text(of)
        };
        let mut all = self.code.code_requests.iter().filter(meant).map(said);
        let first = all.next()??;
        all.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }
}
