#![no_main]

kmend_fuzz::target!(codec, 16 << 20, 256);
