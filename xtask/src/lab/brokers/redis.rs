//! Redis, by a pipeline on a multiplexed connection.

use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use outbox_core::Message;
use outbox_core::broker::{
    CONTENT_TYPE, CREATED_AT, MESSAGE_ID, MESSAGE_KEY, MESSAGE_TYPE, created_at_micros,
};
use outbox_redis::{PAYLOAD, RedisConfig, RedisPublisher};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};

use super::{Bare, Pair};

pub(super) async fn connect(url: &str) -> Result<Pair> {
    let config: RedisConfig = url.parse()?;
    let settings = TcpSettings::default().set_nodelay(true);
    let client = Client::open(url.into_connection_info()?.set_tcp_settings(settings))?;
    let patient = AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let adapter = Arc::new(RedisPublisher::connect(config).await?);
    Ok(Pair { adapter, bare: Arc::new(Redis { connection }) })
}

struct Redis {
    connection: MultiplexedConnection,
}

#[async_trait]
impl Bare for Redis {
    /// Appending creates it.
    async fn create(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        Ok(redis::cmd("UNLINK").arg(name).exec_async(&mut self.connection.clone()).await?)
    }

    async fn publish(&self, batch: &[Arc<Message>]) -> Result<()> {
        let mut pipeline = redis::Pipeline::with_capacity(batch.len());
        for message in batch {
            pipeline.cmd("XADD").arg(message.topic()).arg("*");
            pipeline.arg(MESSAGE_ID).arg(message.id().to_string());
            pipeline.arg(CREATED_AT).arg(created_at_micros(message));
            pipeline.arg(CONTENT_TYPE).arg(message.content_type());
            pipeline.arg(MESSAGE_KEY).arg(message.key());
            pipeline.arg(MESSAGE_TYPE).arg(message.message_type());
            pipeline.arg(PAYLOAD).arg(&message.payload()[..]);
        }
        let ids: Vec<String> = pipeline.query_async(&mut self.connection.clone()).await?;
        ensure!(ids.len() == batch.len(), "{} answers to {} commands", ids.len(), batch.len());
        Ok(())
    }
}
