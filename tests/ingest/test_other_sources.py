"""Exports and API answers of other helpdesks and stores: what is read of each was written before they were tried."""

# ruff: noqa: E501 - a table

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecomintent_batch.ingest.columns import pick_columns, plain_name
from ecomintent_batch.ingest.extract import extract_shards, plan_reading
from ecomintent_batch.ingest.sources import open_source
from ecomintent_batch.pipeline import run_job
from ecomintent_batch.schema import output_names


def lines(*rows: Any) -> bytes:
    """JSON lines."""
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def doc(value: Any) -> bytes:
    """One JSON document."""
    return json.dumps(value, ensure_ascii=False).encode()


def parquet(**columns: Any) -> bytes:
    """A Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


# File, its bytes, the ids that are right for its first row, its texts, and whether there are times.
SOURCES: dict[str, tuple[str, bytes, str, str, bool]] = {
    "Front":("t.csv",b'"Message ID","Conversation ID","Direction","Subject","Extract","Message date"\n"msg_1","cnv_9","inbound","Lamp","it flickers","2026-03-02 10:14:00"\n',"cnv_9|msg_1","Lamp | it flickers",True),
    "Zoho Desk":("t.csv",b"Ticket Id,Ticket Number,Subject,Description,Created Time,Channel\n99,1001,Lamp,it flickers,02 Mar 2026 10:14 AM,Email\n","99|1001","Lamp | it flickers",True),
    "LiveAgent":("t.csv",b"ticket_code;subject;message;date_created\nABC-12;Lamp;it flickers;2026-03-02 10:14:00\n","ABC-12","Lamp | it flickers",True),
    "Re:amaze":("t.json",doc({"page_size":30,"page_count":1,"conversations":[{"slug":"lamp-1","subject":"Lamp","created_at":"2026-03-02T10:14:00Z","message":{"body":"it flickers","user":{"name":"Anna"}}}]}),"lamp-1","Lamp | it flickers",True),
    "eDesk":("t.csv",b"Ticket ID;Channel;Order ID;Buyer message;Created\n7;eBay;55;it flickers;2026-03-02 10:14\n","7","it flickers",True),
    "Magento":("t.csv",b"entity_id,name,email,telephone,comment,created_at\n7,Anna,anna@example.com,030,it flickers,2026-03-02 10:14:00\n","7","it flickers",True),
    "WooCommerce":("t.csv",b"order_id,customer_note,date_created\n7,it flickers,2026-03-02T10:14:00\n","0","it flickers",True),  # an order may have several notes
    "Zendesk export":("t.json",doc({"tickets":[{"id":7,"subject":"Lamp","raw_subject":"Lamp","description":"it flickers","created_at":"2026-03-02T10:14:00Z","via":{"channel":"email"}}],"next_page":None,"count":1,"end_time":1772446440}),"7","Lamp | it flickers",True),
    "Zendesk comments":("t.json",doc({"comments":[{"id":7,"type":"Comment","author_id":1,"body":"it flickers","html_body":"<p>it flickers</p>","plain_body":"it flickers","public":True,"created_at":"2026-03-02T10:14:00Z"}],"count":1}),"7","it flickers",True),
    "Help Scout":("t.json",doc({"_embedded":{"conversations":[{"id":7,"number":9,"subject":"Lamp","preview":"it flickers","createdAt":"2026-03-02T10:14:00Z"}]},"page":{"size":25}}),"7|9","Lamp | it flickers",True),
    "Freshdesk":("t.json",doc([{"id":7,"subject":"Lamp","description":"<div>it flickers</div>","description_text":"it flickers","created_at":"2026-03-02T10:14:00Z"}]),"7","Lamp | it flickers",True),
    "Kustomer":("t.jsonl",lines({"type":"message","id":"7","attributes":{"subject":"Lamp","preview":"it flickers","createdAt":"2026-03-02T10:14:00Z"}}),"7","Lamp | it flickers",True),
    "Salesforce, BOM":("t.csv",b'\xef\xbb\xbf"Case ID","Case Number","Subject","Description","Created Date"\r\n"500x","00001026","Lamp","it flickers","3/22/2026"\r\n',"500x|00001026","Lamp | it flickers",True),
    "ServiceNow":("t.csv",b"sys_id,number,short_description,description,opened_at\nabc,INC001,Lamp,it flickers,2026-03-02 10:14:00\n","abc|INC001","Lamp | it flickers",True),
    "Outlook export":("t.csv",b'"Subject","Body","From: (Name)","From: (Address)","From: (Type)","To: (Name)","Importance"\n"Lamp","it flickers","Anna","anna@example.com","SMTP","Shop","Normal"\n',"0","Lamp | it flickers",False),
    "UTF-16 from a spreadsheet":("t.txt.tsv","Ticket ID\tMessage\n7\tit flickers\n".encode("utf-16"),"7","it flickers",False),
    "sep= line":("t.csv",b"sep=;\r\nid;body;created\r\n7;it flickers;2026-03-02\r\n","7","it flickers",True),
    "German":("t.csv","Ticketnummer;Betreff;Beschreibung;Erstellt am\n7;Lampe;sie flackert;02.03.2026 10:14\n".encode("cp1252"),"7","Lampe | sie flackert",True),
    "French":("t.csv","N° ticket;Objet;Message;Date de création\n7;Lampe;elle clignote;22/03/2026 10:14\n".encode(),"7","Lampe | elle clignote",True),
    "Japanese":("t.csv","チケットID,件名,本文,作成日時\n7,ランプ,点滅します,2026-03-02 10:14\n".encode(),"7","ランプ | 点滅します",True),
    "Spanish":("t.csv","ID de ticket;Asunto;Mensaje;Fecha de creación\n7;Lámpara;parpadea;22/03/2026\n".encode(),"7","Lámpara | parpadea",True),
    "Polish":("t.csv","Numer zgłoszenia;Temat;Treść;Data utworzenia\n7;Lampa;miga;2026-03-02\n".encode(),"7","Lampa | miga",True),
    "Athena":("t.csv",b'"case_id","customer_message","ts"\n"7","it flickers","2026-03-02 10:14:00.000 UTC"\n',"7","it flickers",True),
    "MongoDB":("t.json",lines({"_id":{"$oid":"65f0"},"message":"it flickers","createdAt":{"$date":"2026-03-02T10:14:00Z"}}),"65f0","it flickers",True),
    "DynamoDB":("t.json",lines({"Item":{"id":{"S":"7"},"body":{"S":"it flickers"},"created_at":{"S":"2026-03-02T10:14:00Z"}}}),"7","it flickers",True),
    "Elasticsearch":("t.json",doc({"took":1,"hits":{"total":1,"hits":[{"_index":"t","_id":"7","_source":{"subject":"Lamp","message":"it flickers","created_at":"2026-03-02T10:14:00Z"}}]}}),"7","Lamp | it flickers",True),
    "Airtable":("t.json",doc({"records":[{"id":"rec7","createdTime":"2026-03-02T10:14:00Z","fields":{"Message":"it flickers"}}]}),"rec7","it flickers",True),
    "Slack":("t.json",doc([{"type":"message","user":"U1","text":"it flickers","ts":"1772446440.000200"}]),"0|1772446440.000200","it flickers",True),
    "Reddit":("t.jsonl",lines({"id":"7","title":"Lamp","selftext":"it flickers","created_utc":1772446440}),"7","Lamp | it flickers",True),
    "reviews":("t.csv",b"Review ID,Rating,Review title,Review text,Review date\n7,1,Lamp,it flickers,2026-03-02\n","7","Lamp | it flickers",True),
    "Typeform":("t.csv",b"#,What's your email?,How can we help?,Submit Date (UTC),Network ID\nabc7,a@example.com,it flickers,2026-03-02 10:14:00,x1\n","abc7","it flickers",True),
    "Google Forms":("t.csv",b"Timestamp,Email Address,Describe the problem\n3/22/2026 10:14:00,a@example.com,it flickers\n","0","it flickers",True),
    "pipes":("t.csv",b"id|body|created\n7|it flickers, a lot|2026-03-02\n","7","it flickers, a lot",True),
    "old Mac line ends":("t.csv",b"id,body\r7,it flickers\r8,late\r","7","it flickers",False),
    "BOM and blank lines in JSON":("t.jsonl",b'\xef\xbb\xbf{"id": 7, "body": "it flickers"}\r\n\r\n{"id": 8, "body": "late"}\r\n\r\n',"7","it flickers",False),
    "dictionary columns": ("t.parquet",parquet(id=pa.array(["7","8"]).dictionary_encode(),body=pa.array(["it flickers","late"],pa.large_string()).dictionary_encode()),"7","it flickers",False),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "ids", "text", "has_time"), SOURCES.values(), ids=SOURCES)
def test_the_ticket_of_other_systems_is_read(
    tmp_path: Path, name: str, data: bytes, ids: str, text: str, has_time: bool
) -> None:
    """Id, subject and body, and the time, without a flag."""
    (tmp_path / name).write_bytes(data)
    source = open_source(str(tmp_path / name))
    picked = pick_columns(source.name, source.columns, nested=source.nested)
    names = output_names(picked.kept, ["WISMO", "OTHER"])
    plan = plan_reading(source, picked, names, None)
    shards = extract_shards(source, plan, tmp_path / "shards", shard_rows=500, max_reject_ratio=0)
    row = pq.read_table(next(iter(shards))[0]).to_pylist()[0]
    assert row["ticket_id"] in ids.split("|")
    assert " | ".join(row[key] or "" for key in row if key.startswith("_text_")) == text
    assert isinstance(picked.time and row[names[picked.time]], date) == has_time
    assert picked.warnings == ()


@pytest.mark.parametrize(("column", "plain"), [
    ("N° ticket", "n_ticket"), ("Date de création", "date_de_creation"), ("Treść", "tresc"), ("Zgłoszenie", "zgloszenie"),
    ("メッセージ", "メッセージ"), ("ticketID", "ticket_id"), ("Größe", "grosse"), ("메시지", "메시지"), ("#", "number"), ("¿Qué?", "que"),
])  # fmt: skip
def test_names_lose_accents_and_nothing_else(column: str, plain: str) -> None:
    """Latin letters without their marks; other scripts as they are."""
    assert plain_name(column) == plain


REPEATED = {
    "Jira": "Summary,Issue key,Sprint,Sprint,Description,Comment,Comment\nLamp,SD-1,1,2,it flickers,a,b\n",
    "labels": "id;body;Label;Label;Label\nSD-1;it flickers;a;b;c\n",
    "empty names": "id,body,,,\nSD-1,it flickers,x,y,z\n",
    "unnamed": "id,body,Unnamed: 3,Unnamed: 3\nSD-1,it flickers,x,y\n",
    "tabs": "id\tbody\tWatchers\tWatchers\nSD-1\tit flickers\tx\ty\n",
}


@pytest.mark.parametrize("text", REPEATED.values(), ids=REPEATED)
def test_repeated_columns_that_nobody_needs_do_not_matter(tmp_path: Path, text: str) -> None:
    """Case 22: only a column that is asked for has to be there once."""
    path = tmp_path / "t.csv"
    path.write_text(text)
    source = open_source(str(path))
    picked = pick_columns(source.name, source.columns, nested=source.nested)
    plan = plan_reading(source, picked, output_names(picked.kept, ["A", "B"]), None)
    shards = extract_shards(source, plan, tmp_path / "s", shard_rows=500, max_reject_ratio=0)
    row = pq.read_table(next(iter(shards))[0]).to_pylist()[0]
    assert row["ticket_id"] == "SD-1"
    assert "it flickers" in row.values()


TIMELESS = {
    "one intent has none": "1,where is it,2026-03-02\n2,refund,NULL\n3,hello,\n",
    "all but one": "1,where is it,\n2,refund,2026-03-02\n3,hello,0000-00-00\n",
    "infinite": "1,where is it,2026-03-02\n2,refund,infinity\n3,hello,-infinity\n",
    "far years": "1,where is it,2026-03-02\n2,refund,99999-01-01\n3,hello,0044-03-15 (BC)\n",
    "none at all": "1,where is it,\n2,refund,\n3,hello,\n",
}


@pytest.mark.parametrize("rows", TIMELESS.values(), ids=TIMELESS)
def test_tickets_without_times_have_a_report(tmp_path: Path, stub_settings: Any, rows: str) -> None:
    """Case 31: whichever intent has no time, every run writes its report."""
    path = tmp_path / "t.csv"
    path.write_text(f"id,body,created_at\n{rows}")
    result = run_job(stub_settings(path, tmp_path / "out"))
    assert result.manifest.counts.predictions == 3
    assert result.report.exists()
