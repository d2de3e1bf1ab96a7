"""How the embedded model is made and judged; never imported by the job."""
