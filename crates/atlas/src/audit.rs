//! Whether verdicts, runs, study files and the registry agree.
