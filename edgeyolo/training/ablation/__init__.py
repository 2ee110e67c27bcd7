"""The paper's Tables 3 to 8 on data of one's own."""
