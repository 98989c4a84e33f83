//! A fleet of real WebSocket clients that counts loss, duplicates, order and reconnects.
