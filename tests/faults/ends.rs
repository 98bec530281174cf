//! P12: how a process ends, on request or not.

mod on_the_engines {
    use std::time::{Duration, Instant};

    use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
    use lapin::types::FieldTable;
    use lapin::{Channel, Connection, ConnectionProperties};

    use super::super::judge;
    use super::super::load::Load;
    use super::super::provider::Provider;
    use crate::journeys::TWICE;
    use testkit::engines::Engines;
    use testkit::http::{new_phone, status_of};
    use testkit::process::Binary;
    use testkit::proxy::Fault;
    use testkit::system::{Apart, STOP_LIMIT, System};
    use testkit::{eventually, in_time};

    /// A rolling restart: each process in turn is stopped and restarted while clients request codes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_p12_sigterm_under_load_ends_with_0_and_loses_nothing() {
        let provider = Provider::start().await;
        let mut system =
            System::apart(Engines::shared().fresh().await, TWICE, &provider.settings()).await;
        let apis = vec![system.api_of(0), system.api_of(1)];
        let load = Load::on(apis);
        for process in &mut system.processes {
            load.more(10).await;
            let start = Instant::now();
            let status = process.server.terminate(STOP_LIMIT).await;
            assert_eq!(status.code(), Some(0), "{}", process.server.output());
            println!("{} stopped in {:?}", process.binary.name(), start.elapsed());
            process.server.spawn();
            process.ready().await;
        }
        load.more(10).await;
        let told = load.stop().await;
        judge(&system, &system.api_of(0), &provider, told, 1).await.assert_none();
        assert!(!system.stop().await.contains("panicked"));
    }

    /// Everything at once: what waits in the queues is sent after the next start.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p12_all_services_stopped_at_once_resume_after_the_next_start() {
        let provider = Provider::start().await;
        let mut system =
            System::apart(Engines::shared().fresh().await, TWICE, &provider.settings()).await;
        let load = Load::on(vec![system.api_of(0), system.api_of(1)]);
        load.more(40).await;
        for process in &system.processes {
            process.server.signal("TERM");
        }
        for process in &mut system.processes {
            let status = process.server.terminate(STOP_LIMIT).await;
            assert_eq!(status.code(), Some(0), "{}", process.server.output());
        }
        let told = load.stop().await;
        for process in &mut system.processes {
            process.server.spawn();
        }
        for process in &mut system.processes {
            process.ready().await;
        }
        judge(&system, &system.api_of(0), &provider, told, 1).await.assert_none();
    }

    async fn channel(amqp_url: &str) -> (Connection, Channel) {
        let connection =
            Connection::connect(amqp_url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Declares a queue that is not ours, so that our declaration fails.
    async fn declare_otherwise(channel: &Channel, queue: &str) {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), durable, FieldTable::default()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_a_failed_part_ends_its_process_with_an_error() {
        for queue in ["otp-worker", "sms-worker"] {
            let mut system = System::on(Engines::shared().fresh().await, &[]).await;
            let amqp_url = system.engines.as_ref().unwrap().amqp_url.clone();
            // Down while the queue is redeclared; on restart it cannot repeat its declaration.
            system.processes[0].server.kill9().await;
            let (_connection, channel) = channel(&amqp_url).await;
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
            declare_otherwise(&channel, queue).await;
            let process = &mut system.processes[0];
            process.server.spawn();
            let ended = in_time(Duration::from_mins(1), async || process.server.ended()).await;
            let output = process.server.output();
            let status = ended.unwrap_or_else(|| panic!("it runs without {queue}:\n{output}"));
            assert_eq!(status.code(), Some(1), "{output}");
            assert!(output.lines().last().unwrap().contains(queue), "{output}");
        }
    }

    /// A queue found redeclared after a loss of the broker: the worker is not ready, names the queue, and resumes once
    /// it is right.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_a_queue_changed_under_a_worker_is_named_and_the_worker_recovers_by_itself() {
        let mut engines = Engines::shared().fresh().await;
        let straight = engines.amqp_url.clone();
        let mut proxy = engines.proxy_broker().await;
        let counts = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };
        let mut system = System::apart(engines, counts, &[]).await;
        proxy.set(Fault::Refuse).await;
        let (_connection, channel) = channel(&straight).await;
        let delete = async || {
            channel.queue_delete("otp-worker".into(), QueueDeleteOptions::default()).await.unwrap()
        };
        delete().await;
        declare_otherwise(&channel, "otp-worker").await;
        proxy.set(Fault::None).await;
        let worker = system.all(Binary::OtpWorker).next().unwrap();
        let ready = format!("{}/readyz", worker.ops_url);
        eventually("the queue's name in the log", testkit::PATIENCE, async || {
            worker.server.output().contains("declare the queue otp-worker").then_some(())
        })
        .await;
        assert_eq!(status_of(&ready).await, Some(503));
        delete().await;
        eventually("the worker's return", testkit::PATIENCE, async || {
            (status_of(&ready).await == Some(200)).then_some(())
        })
        .await;
        let api = system.api();
        let phone = new_phone();
        eventually("an accepted code request", testkit::PATIENCE, async || {
            (api.otp(&phone).await.status == 202).then_some(())
        })
        .await;
        api.code(&phone, 1).await;
    }
}
