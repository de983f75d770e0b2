#![no_main]

kmend_fuzz::target!(session, 32 << 20, 256);
