//! A code that was right in Redis, with the requests for it.

use domain::event::Profile;
use domain::ids::RequestId;
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
        let meant =
            |of: &&(RequestId, RequestNote)| self.is_meant(of.0) && !self.followed_a_text(of);
        let mut profiles = self.code.code_requests.iter().filter(meant).map(profile);
        let first = profiles.next()??;
        profiles.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }

    /// The request's locale, or English (contract, ruling 22).
    pub fn locale(&self) -> String {
        let locale = |(request, note): &(RequestId, RequestNote)| {
            self.is_meant(*request).then(|| note.locale.clone()).flatten()
        };
        self.code.code_requests.iter().rev().find_map(locale).unwrap_or_else(|| "en".to_owned())
    }

    /// Without a named request, all of them are meant.
    fn is_meant(&self, request: RequestId) -> bool {
        self.named.is_none_or(|named| named == request)
    }
}
