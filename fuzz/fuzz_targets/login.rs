#![no_main]

kmend_fuzz::target!(login, 4 << 20, 1024);
