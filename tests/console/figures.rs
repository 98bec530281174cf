//! Pulse and delivery: what was counted is shown, as what it is, and leads to the list behind it.

use accounts::{GuardHours, StaffRole};
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::phone::E164;
use domain::rng;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use guard::Tally;
use ledger::hours::{HOUR_MS, Hours, hour_of, hour_start};
use ledger::{AttemptState, Finish, Ledger, NewMessage, Receipt, Risk};
use testkit::http::new_phone;
use testkit::system::Side;

use super::browser::{Console, Member};

testkit::both_sides!(
    the_pulse_compares_each_figure_with_the_week_before,
    delivery_tells_who_delivers_where_and_leads_to_the_requests,
    texts_that_are_taken_and_never_used_are_flagged,
    figures_say_what_is_not_counted_yet,
    the_list_finds_what_is_rare_however_far_back_it_is,
    the_list_is_filtered_by_a_prefix_and_by_what_nobody_used,
    a_message_is_found_by_its_providers_id,
);

/// What becomes of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Sent,
    Delivered,
    Undelivered,
}

struct Figures<'a> {
    console: &'a Console,
    ledger: Ledger,
    member: Member,
}

impl<'a> Figures<'a> {
    async fn of(console: &'a Console) -> Self {
        let ledger = Ledger::new(&console.latchkey.engines.sql);
        let member = console.member(StaffRole::Viewer).await;
        Self { console, ledger, member }
    }

    fn now(&self) -> Timestamp {
        self.console.latchkey.clock.now()
    }

    /// The middle of an hour, so many before the last whole one.
    fn hours_ago(&self, hours: i64) -> Timestamp {
        hour_start(hour_of(self.now()) - 1 - hours).plus_ms(HOUR_MS / 2)
    }

    /// Texts by this provider, taken up at that time, and what became of them: their requests.
    async fn texts(
        &self,
        count: usize,
        at: Timestamp,
        (phone, country, provider): (&str, &str, &str),
        fate: Fate,
    ) -> Vec<RequestId> {
        let phone: E164 = phone.parse().unwrap();
        let mut requests = Vec::new();
        for n in 0..count {
            let request_id = RequestId::from_uuid(rng::id_v7(at.ms() - 20));
            let message = NewMessage {
                message_id: MessageId::of_request(request_id),
                request_id: Some(request_id),
                phone_number: &phone,
                of_deleted: false,
                country,
                channel: Channel::Sms,
                not_after: at.plus_secs(300),
            };
            let attempt_id = AttemptId::from_uuid(rng::id_v7(at.ms()));
            let risk = Risk { most: 2, doubtful: &[], unsettled_since: at };
            self.ledger.begin(&message, attempt_id, provider, risk, at).await.unwrap();
            let id = format!("SM{:032x}", request_id.uuid().as_u128());
            let sent = Finish {
                segments: Some(1),
                status: Some((Status::Sent, None)),
                provider_message_id: Some(id),
                ..Finish::of(AttemptState::Accepted)
            };
            self.ledger.finish(attempt_id, &sent, at.plus_ms(180)).await.unwrap();
            if fate != Fate::Sent {
                let (status, reason, code) = match fate {
                    Fate::Delivered => (Status::Delivered, None, None),
                    _ => (Status::Undelivered, Some(Reason::CarrierBlocked), Some("30007")),
                };
                let receipt = Receipt {
                    attempt_id,
                    status,
                    reason,
                    provider_message_id: None,
                    provider_code: code.map(str::to_owned),
                    price: None,
                    follow_up_at: None,
                };
                let came = at.plus_ms(180 + 1_500 + i64::try_from(n).unwrap());
                self.ledger.apply_receipt(&receipt, came).await.unwrap();
            }
            requests.push(request_id);
        }
        requests
    }

    /// What the guard saw at that time.
    async fn codes(&self, at: Timestamp, country: &str, prefix: &str, sends: i64, verified: i64) {
        let tally = Tally {
            minute: guard::minute_of(at.ms()),
            operator_prefix: prefix.to_owned(),
            country: country.to_owned(),
            sends,
            verified,
            refused: 3,
        };
        let history = accounts::GuardHistory::new(&self.console.latchkey.engines.sql);
        history.add(&[tally]).await.unwrap();
    }

    /// Counts each hour of two weeks and a day, as the gateways do in the background. They may do so at the same time:
    /// then theirs is the one that is written, and this one counts once more.
    async fn count(&self) {
        let sql = &self.console.latchkey.engines.sql;
        let (hours, guard) = (Hours::new(sql), GuardHours::new(sql));
        let this = hour_of(self.now());
        for hour in this - 15 * 24..=this {
            loop {
                let rolled = hours.rolled(hour).await.unwrap();
                let times = rolled.iter().find(|it| it.hour == hour).map_or(0, |it| it.times);
                if hours.roll(hour, times, self.now()).await.unwrap() {
                    break;
                }
            }
            loop {
                let rolled = guard.rolled(hour).await.unwrap();
                let times = rolled.iter().find(|(it, ..)| *it == hour).map_or(0, |it| it.1);
                if guard.roll(hour, times, self.now()).await.unwrap() {
                    break;
                }
            }
        }
    }

    async fn page(&mut self, path: &str) -> String {
        self.member.browser.get(path).await.expect(200).text
    }
}

const IRAN: (&str, &str, &str) = ("+989121234567", "IR", "http");
const GERMANY: (&str, &str, &str) = ("+4915112345678", "DE", "twilio");

/// The part of a page about this.
fn part<'p>(page: &'p str, mark: &str, end: &str) -> &'p str {
    let rest = page.split_once(mark).unwrap_or_else(|| panic!("no {mark:?} in {page}")).1;
    rest.split(end).next().unwrap()
}

async fn the_pulse_compares_each_figure_with_the_week_before(side: Side) {
    let console = Console::start(side).await;
    let mut figures = Figures::of(&console).await;
    let (now, before) = (figures.hours_ago(3), figures.hours_ago(3 + 7 * 24));
    figures.texts(10, now, GERMANY, Fate::Delivered).await;
    figures.texts(11, now, GERMANY, Fate::Undelivered).await;
    figures.texts(24, before, GERMANY, Fate::Delivered).await;
    figures.codes(now, "DE", "491511", 40, 10).await;
    figures.codes(before, "DE", "491511", 40, 30).await;
    figures.count().await;
    let page = figures.page("/console").await;
    // The navigation has names, too.
    let tile = |name: &str| part(&page, &format!(">{name}</a></h2>"), "</section>").to_owned();
    let day = |name: &str| part(&tile(name), "24 h", "</div>").to_owned();
    let requests = day("Requests");
    assert!(requests.contains("<b>21</b>") && requests.contains("was 24"), "{requests}");
    assert!(!requests.contains("tag warn"), "{requests}");
    let used = day("Codes used");
    assert!(used.contains("<b>25 %</b>") && used.contains("was 75 %"), "{used}");
    // Out of its band, it leads to what explains it.
    assert!(used.contains("href=\"/console/delivery?since=24\">low"), "{used}");
    let delivered = day("Delivered");
    assert!(delivered.contains("<b>47 %</b>") && delivered.contains("was 100 %"), "{delivered}");
    let link = "href=\"/console/requests?status=undelivered&#38;since=24\">low";
    assert!(delivered.contains(link), "{delivered}");
    let sent = day("Requested to sent, half");
    assert!(sent.contains("<b>250 ms</b>"), "200 ms are within 250: {sent}");
    let arrived = day("Sent to delivered, 95 %");
    assert!(arrived.contains("<b>2 s</b>"), "{arrived}");
    assert!(day("Refused by the guard").contains("<b>3</b>"));
    assert!(part(&tile("Requests"), "7 d", "</div>").contains("<b>21</b>"));
    assert!(tile("Requests").contains("role=\"img\" aria-label=\"Requests, each of the last 24 whole hours: from 0 to 21, at last 0\""));
    // The reason with the provider's code, in words.
    assert!(page.contains("/console/requests?reason=carrier_blocked"), "{page}");
    assert!(page.contains("The carrier filtered the text as spam (30007)"), "{page}");
    assert!(!page.contains("not counted yet"), "{page}");
    // The hour is counted as it is read: the member's own sign-in and text.
    let hour = part(&tile("Sign-ins"), "1 h", "</div>").to_owned();
    assert!(!hour.contains("<b>0</b>"), "{hour}");
}

async fn delivery_tells_who_delivers_where_and_leads_to_the_requests(side: Side) {
    let console = Console::start(side).await;
    let mut figures = Figures::of(&console).await;
    let at = figures.hours_ago(30);
    figures.texts(9, at, GERMANY, Fate::Delivered).await;
    figures.texts(3, at, GERMANY, Fate::Undelivered).await;
    figures.texts(4, at, ("+4915112345678", "DE", "http"), Fate::Sent).await;
    figures.texts(20, at, IRAN, Fate::Delivered).await;
    figures.codes(at, "DE", "491511", 16, 8).await;
    figures.codes(at, "IR", "989121", 20, 19).await;
    figures.count().await;
    let page = figures.page("/console/delivery").await;
    let iran = page.find("href=\"/console/delivery?country=IR\"").expect("a link to Iran");
    let germany = page.find("href=\"/console/delivery?country=DE\"").expect("a link to Germany");
    assert!(iran < germany, "the country with the most messages comes first");
    let row = part(&page, "country=DE&#38;provider=twilio\">12", "</tr>");
    for told in ["75 %", "2 s", "50 %", "Messages on each of 7 days: 0, 0, 0, 0, 0, 12, 0"] {
        assert!(row.contains(told), "{told}: {row}");
    }
    let page = figures.page("/console/delivery?country=DE").await;
    assert!(!page.contains("country=IR"), "{page}");
    let prefixes = part(&page, "Prefixes of DE", "</section>");
    let link = "/console/requests?since=168&#38;prefix=491511";
    assert!(prefixes.contains(link) && prefixes.contains(">16<"), "{prefixes}");
    assert!(page.contains("reason=carrier_blocked"), "{page}");
    let page = figures.page("/console/delivery?provider=http&country=DE&since=720").await;
    assert!(page.contains("provider=http\">4<") && !page.contains("provider=twilio"), "{page}");
    // Before the texts: nothing, in words.
    let day = figures.page("/console/delivery?since=24&country=DE").await;
    assert!(day.contains("No messages like that"), "{day}");
    for odd in ["?since=x&under=-1&country=%3Cscript%3E", "?country=%00&provider=%27", "?under=101"]
    {
        let page = figures.page(&format!("/console/delivery{odd}")).await;
        assert!(!page.contains("<script>"), "{page}");
    }
}

async fn texts_that_are_taken_and_never_used_are_flagged(side: Side) {
    let console = Console::start(side).await;
    let mut figures = Figures::of(&console).await;
    let at = figures.hours_ago(2);
    figures.texts(20, at, GERMANY, Fate::Delivered).await;
    figures.texts(20, at, IRAN, Fate::Delivered).await;
    figures.texts(19, at, ("+33612345678", "FR", "http"), Fate::Delivered).await;
    figures.codes(at, "DE", "491511", 20, 3).await;
    figures.codes(at, "IR", "989121", 20, 4).await;
    figures.codes(at, "FR", "336123", 19, 0).await;
    figures.count().await;
    let flags = |page: &str| -> Vec<&str> {
        let doubtful = |country: &&&str| {
            let mark = format!("country={country}&#38;provider=");
            page.split("<tr>").any(|row| row.contains(&mark) && row.contains("taken, not used"))
        };
        ["DE", "IR", "FR"].iter().filter(doubtful).copied().collect()
    };
    let page = figures.page("/console/delivery").await;
    assert_eq!(
        flags(&page),
        ["DE"],
        "three of twenty are less than 20 %; of nineteen nothing is said"
    );
    assert!(page.contains("outcome=unverified"), "{page}");
    let page = figures.page("/console/delivery?under=50").await;
    assert_eq!(flags(&page), ["DE", "IR"]);
    let page = figures.page("/console/delivery?under=10").await;
    assert_eq!(flags(&page), [] as [&str; 0]);
}

async fn figures_say_what_is_not_counted_yet(side: Side) {
    let console = Console::start(side).await;
    let mut figures = Figures::of(&console).await;
    // A gateway has counted what there was, and is about to learn of an older message.
    figures.count().await;
    let sql = &console.latchkey.engines.sql;
    let week = hour_of(figures.now()) - 100;
    figures.texts(1, hour_start(week), IRAN, Fate::Sent).await;
    let forget = "DELETE FROM delivery_rolled WHERE hour = $1";
    // The background may count it at once: then it is forgotten again.
    testkit::eventually("a page that says so", testkit::PATIENCE, async || {
        sql.run("forget", forget, sql::args![week]).await.unwrap();
        let page = figures.page("/console/delivery").await;
        page.contains("1 hours are not counted yet").then_some(())
    })
    .await;
}

async fn the_list_finds_what_is_rare_however_far_back_it_is(side: Side) {
    let console = Console::start(side).await;
    let mut figures = Figures::of(&console).await;
    let rare = figures.texts(1, figures.hours_ago(20 * 24), GERMANY, Fate::Undelivered).await[0];
    // More than one look goes through.
    fill(&console, figures.hours_ago(24), 12_000).await;
    let list = "/console/requests?since=720&status=undelivered";
    let address = format!("/console/requests/{rare}");
    assert!(figures.page(list).await.contains(&address), "the counters are not needed");
    figures.count().await;
    assert!(figures.page(list).await.contains(&address));
    let none = figures.page("/console/requests?since=720&status=failed").await;
    assert!(none.contains("No texts or calls"), "{none}");
    // So many that four looks do not go through them, and no counter that tells where to look.
    fill(&console, figures.hours_ago(48), 40_000).await;
    let sql = &console.latchkey.engines.sql;
    let hours = [hour_of(figures.hours_ago(24)), hour_of(figures.hours_ago(48))];
    let page = testkit::eventually("a list that goes on", testkit::PATIENCE, async || {
        for hour in hours {
            let forget = "DELETE FROM delivery_rolled WHERE hour = $1";
            sql.run("forget", forget, sql::args![hour]).await.unwrap();
        }
        let page = figures.page(list).await;
        page.contains("Look further back").then_some(page)
    })
    .await;
    assert!(page.contains("Nothing so far.") && !page.contains(&address), "{page}");
    let next = page.split("href=\"").find(|it| it.contains("Look further back")).unwrap();
    let next = next[..next.find('"').unwrap()].replace("&#38;", "&");
    assert!(figures.page(&next).await.contains(&address), "{next}");
}

/// Messages that arrived, all at that time.
async fn fill(console: &Console, at: Timestamp, count: u32) {
    let sql = &console.latchkey.engines.sql;
    let insert = if sql.is_postgres() {
        "INSERT INTO sms_ledger (message_id, phone_number, country, channel, state, rank, created_at, updated_at, not_after)
         SELECT gen_random_uuid(), '+12125550100', 'US', 'sms', 'delivered', 43, $1 + n, $1, $1
         FROM generate_series(1, $2) AS n"
    } else {
        "INSERT INTO sms_ledger (message_id, phone_number, country, channel, state, rank, created_at, updated_at, not_after)
         SELECT randomblob(16), '+12125550100', 'US', 'sms', 'delivered', 43, $1 + n, $1, $1
         FROM (WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < $2) SELECT n FROM t) t"
    };
    for _ in 0..count / 4_000 {
        sql.run("fill the ledger", insert, sql::args![at, 4_000_u32]).await.unwrap();
    }
}

async fn the_list_is_filtered_by_a_prefix_and_by_what_nobody_used(side: Side) {
    let console = Console::start(side).await;
    let mut figures = Figures::of(&console).await;
    let at = figures.hours_ago(1);
    let german = figures.texts(1, at, GERMANY, Fate::Delivered).await[0];
    let iranian = figures.texts(1, at, IRAN, Fate::Sent).await[0];
    let lost = figures.texts(1, at, GERMANY, Fate::Undelivered).await[0];
    // One that signs somebody in, and a moment later is over.
    let (user, ..) = console.account(None).await;
    let texts = figures.page(&format!("/console/requests?user={user}")).await;
    let used = part(&texts, "href=\"/console/requests/0", "\"").to_owned();
    let used = format!("0{used}");
    console.latchkey.advance(3600);
    figures.member = console.member(StaffRole::Viewer).await;
    let all = [german.to_string(), iranian.to_string(), lost.to_string(), used];
    let mut shown = async |query: &str| -> Vec<usize> {
        let page = figures.page(&format!("/console/requests?{query}")).await;
        assert!(!page.contains(&GERMANY.0[3..]), "a whole number is shown");
        (0..all.len()).filter(|at| page.contains(&all[*at])).collect()
    };
    assert_eq!(shown("").await, [0, 1, 2, 3]);
    for (query, found) in [
        ("prefix=49", vec![0, 2]),
        ("prefix=%2B49151", vec![0, 2]),
        ("prefix=0049151123", vec![0, 2]),
        ("prefix=491512", vec![]),
        ("prefix=98912123&status=sent", vec![1]),
        ("outcome=unverified", vec![0, 1]),
        ("outcome=unverified&prefix=49", vec![0]),
        ("outcome=unverified&country=IR", vec![1]),
    ] {
        assert_eq!(shown(query).await, found, "{query}");
    }
    for no_prefix in ["491511234", "4915112345678", "x", "0", "49%25", "%3Cscript%3E"] {
        let page = figures.page(&format!("/console/requests?prefix={no_prefix}")).await;
        assert!(page.contains("A prefix is a calling code and digits"), "{no_prefix}");
        assert!(!page.contains("<script>"), "{page}");
    }
    assert!(!figures.page("/console/requests").await.contains("A prefix is"));
}

async fn a_message_is_found_by_its_providers_id(side: Side) {
    let console = Console::start(side).await;
    let mut figures = Figures::of(&console).await;
    let request = figures.texts(1, figures.hours_ago(1), GERMANY, Fate::Sent).await[0];
    let home = figures.member.browser.get("/console").await.expect(200);
    let id = format!("SM{:032x}", request.uuid().as_u128());
    let found = figures.member.browser.submit(&home, "/console/find", &[("what", &id)]).await;
    assert_eq!(found.leads_to(), format!("/console/requests/{request}"));
    // The id of an attempt that another followed is no longer the message's own.
    let sql = &console.latchkey.engines.sql;
    let other = "UPDATE sms_ledger SET provider_message_id = 'SMother'";
    sql.run("send it elsewhere", other, &[]).await.unwrap();
    let found = figures.member.browser.submit(&home, "/console/find", &[("what", &id)]).await;
    assert_eq!(found.leads_to(), format!("/console/requests/{request}"));
    let unknown = format!("SM{}", new_phone());
    figures
        .member
        .browser
        .submit(&home, "/console/find", &[("what", &unknown.replace('+', "0"))])
        .await
        .leads_to();
}
